//! A captive portal: the web server that a guest network puts in everybody's way (RFC 8910 section 1).
//!
//! It answers every HTTP request by itself and knows nothing of the server that was meant. A client
//! that wants a WebSocket gets a redirection to a login page instead. Who is sent here, and until
//! when, is the gateway's affair.

use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ringtrue::net::{ByteStream, Net};

/// Where the login page is.
const LOGIN_PATH: &str = "/login";

const LOGIN_PAGE: &str = "<!doctype html><title>Log in</title><p>Log in to use this network.</p>\n";

/// Serves the portal on `local` until the future is dropped; `ready` is called with the address
/// that it listens on, which is also the one that its redirections name.
///
/// # Errors
///
/// When the address cannot be listened on.
pub async fn run(
    net: Arc<dyn Net>,
    local: SocketAddr,
    ready: impl FnOnce(SocketAddr),
) -> io::Result<()> {
    let listener = net.listen_stream(local).await?;
    let address = listener.local_addr()?;
    ready(address);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve_stream(stream, address));
    }
}

async fn serve_stream(stream: Box<dyn ByteStream>, portal: SocketAddr) {
    let service = service_fn(move |request: Request<Incoming>| {
        ready(Ok::<_, Infallible>(answer(request.uri().path(), portal)))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        // It would be read from the operating system's clock.
        .auto_date_header(false)
        // A guest who is let through must not go on talking to the portal.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection to the captive portal ended");
    }
}

/// The login page where it is asked for, and the way there everywhere else.
fn answer(path: &str, portal: SocketAddr) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(LOGIN_PAGE.as_bytes())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    // An answer that was kept would outlive the captivity.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if path != LOGIN_PATH {
        let login = HeaderValue::try_from(format!("http://{portal}{LOGIN_PATH}"))
            .expect("an address and a constant are plain text");
        headers.insert(LOCATION, login);
        *response.status_mut() = StatusCode::FOUND;
    }
    response
}

#[cfg(test)]
mod tests {
    use ringtrue::net::tokio::TokioNet;
    use tokio::sync::oneshot;

    use super::*;
    use crate::server::probe;

    /// A portal on loopback.
    async fn portal() -> SocketAddr {
        let (sender, address) = oneshot::channel();
        tokio::spawn(run(
            Arc::new(TokioNet::loopback_only()),
            probe::ANY_LOOPBACK,
            move |address| sender.send(address).expect("the test waits"),
        ));
        address.await.expect("loopback has a free port")
    }

    #[tokio::test]
    async fn every_request_is_sent_to_the_login_page() {
        let portal = portal().await;
        for path in ["/", "/socket.io/?EIO=4&transport=polling"] {
            let answer = probe::get(portal, path).await;
            assert!(answer.starts_with("HTTP/1.1 302 Found\r\n"), "{answer}");
            let login = format!("location: http://{portal}/login\r\n");
            assert!(answer.contains(&login), "{answer}");
        }
        let page = probe::get(portal, "/login").await;
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        assert!(page.ends_with(LOGIN_PAGE), "{page}");
    }

    #[tokio::test]
    async fn the_client_gets_no_websocket_and_comes_back_later() {
        probe::check_no_websocket(portal().await, StatusCode::FOUND).await;
    }
}
