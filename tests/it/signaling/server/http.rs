//! The server's side of HTTP/1.1, as little of it as leaves everything to a test.

use std::collections::BTreeMap;
use std::io;

use ringtrue::net::ByteStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::record::Request;

/// A TCP connection on which requests come.
pub(super) struct HttpStream {
    stream: Box<dyn ByteStream>,
    /// What was read and not used yet.
    buffer: Vec<u8>,
}

impl HttpStream {
    pub(super) fn new(stream: Box<dyn ByteStream>) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// The next request; `None` where the client closes before one begins. Safe to cancel.
    pub(super) async fn request(&mut self) -> io::Result<Option<Request>> {
        loop {
            if let Some((request, length)) = parse(&self.buffer)? {
                self.buffer.drain(..length);
                return Ok(Some(request));
            }
            if self.fill().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Waits until the client closes. What it says meanwhile is kept. Safe to cancel.
    pub(super) async fn closed(&mut self) -> io::Result<()> {
        while self.fill().await? > 0 {}
        Ok(())
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    pub(super) async fn respond(
        &mut self,
        status: u16,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<()> {
        let length = (status != 101).then(|| format!("content-length: {}\r\n", body.len()));
        let fields = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        let fields: String = fields.chain(length).collect();
        let text = format!("HTTP/1.1 {status} Scripted\r\n{fields}\r\n{body}");
        self.write(text.as_bytes()).await
    }

    /// The stream and what was read of it already.
    pub(super) fn into_parts(self) -> (Box<dyn ByteStream>, Vec<u8>) {
        (self.stream, self.buffer)
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.buffer).await
    }
}

/// A value of a query without its percent-encoding (RFC 3986 section 2.1).
fn decoded(value: &str) -> String {
    let mut parts = value.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).map(|digits| u8::from_str_radix(digits, 16)) {
            Some(Ok(byte)) => {
                bytes.push(byte);
                bytes.extend(&part.as_bytes()[2..]);
            }
            _ => bytes.extend(part.as_bytes()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A request and its length, once it is whole.
fn parse(bytes: &[u8]) -> io::Result<Option<(Request, usize)>> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| invalid("a head that is no text"))?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1")) = (words.next(), words.next(), words.next())
    else {
        return Err(invalid("a request line that is none"));
    };
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").map(|value| value.parse());
    let length: usize = length
        .transpose()
        .map_err(|_| invalid("a length that is no number"))?
        .unwrap_or_default();
    let begin = end + 4;
    let Some(body) = bytes.get(begin..begin + length) else {
        return Ok(None);
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: pairs
            .map(|(key, value)| (key.to_owned(), decoded(value)))
            .collect(),
        headers,
        body: body.to_vec(),
    };
    Ok(Some((request, begin + length)))
}
