//! HTTP/1.1 with one exchange at a time, over a connection that is kept.
//!
//! hyper's connection is polled in place, beside the exchange that it carries, so that dropping the
//! [`HttpLane`] closes the stream.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::time::Instant;

use super::ConnectError;
use super::dial::Dialer;
use crate::net::ByteStream;
use crate::redaction;

/// How long a connection may have been idle and still be used. Servers close idle ones after five
/// seconds at the earliest (Node, uvicorn), and a request that crosses with the close is lost.
const IDLE_MAX: Duration = Duration::from_secs(4);

/// The largest response that is read. Servers batch messages, so it is more than one may have.
const RESPONSE_BYTES_MAX: usize = 4 << 20;

/// A request.
#[derive(Debug, Clone)]
pub(super) enum HttpRequest {
    Get,
    Post(String),
}

/// A whole response.
#[derive(Debug)]
pub(super) struct HttpResponse {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// Why an exchange failed.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The connection for it did not come up.
    #[error("the connection for a request did not come up")]
    Connect(#[source] Box<ConnectError>),
    /// The connection closed or broke during the exchange, or what came is no HTTP.
    #[error("the exchange broke")]
    Exchange(#[source] hyper::Error),
    /// The server answered that the request failed.
    #[error("the server answers {status}: {:?}", redaction::scrubbed(body).to_string())]
    Status {
        /// The response's status.
        status: StatusCode,
        /// The start of the response's body.
        body: String,
    },
    /// The response does not end.
    #[error("the response is larger than {max} bytes")]
    TooLarge {
        /// The limit.
        max: usize,
    },
}

/// A request to one URL after the other, never two at a time. The connection is kept for the next one
/// and dialled again where the server has closed it meanwhile. Dropping the lane closes it.
pub(super) struct HttpLane {
    dialer: Dialer,
    address: SocketAddr,
    url: Uri,
    state: State,
}

enum State {
    Idle(Option<Kept>),
    Dialing {
        request: HttpRequest,
        dial: Dial,
    },
    Exchanging {
        connection: Connection,
        stage: Stage,
    },
}

type Dial = Pin<Box<dyn Future<Output = Result<Connection, HttpError>> + Send>>;

struct Kept {
    connection: Connection,
    since: Instant,
}

struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: http1::Connection<TokioIo<Box<dyn ByteStream>>, Full<Bytes>>,
    is_over: bool,
}

enum Stage {
    Unsent(HttpRequest),
    Head(Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>),
    Body {
        status: StatusCode,
        incoming: Incoming,
        received: BytesMut,
    },
}

impl HttpLane {
    /// Without a connection yet; the server has been reached at `address` before.
    pub(super) fn new(dialer: Dialer, address: SocketAddr, url: Uri) -> Self {
        Self {
            dialer,
            address,
            url,
            state: State::Idle(None),
        }
    }

    /// Over a stream that leads to the host of `url`.
    ///
    /// # Errors
    ///
    /// [`HttpError::Exchange`].
    pub(super) async fn over(
        stream: Box<dyn ByteStream>,
        dialer: Dialer,
        address: SocketAddr,
        url: Uri,
    ) -> Result<Self, HttpError> {
        let kept = Kept {
            connection: Connection::over(stream).await?,
            since: Instant::now(),
        };
        Ok(Self {
            state: State::Idle(Some(kept)),
            ..Self::new(dialer, address, url)
        })
    }

    /// What later requests ask for.
    pub(super) fn set_url(&mut self, url: Uri) {
        self.url = url;
    }

    /// Whether a request is under way.
    pub(super) fn is_busy(&self) -> bool {
        !matches!(self.state, State::Idle(_))
    }

    /// Whether the response has begun to arrive.
    pub(super) fn has_head(&self) -> bool {
        matches!(
            self.state,
            State::Exchanging {
                stage: Stage::Body { .. },
                ..
            }
        )
    }

    /// Begins a request; one that is under way is abandoned, and its connection closed.
    pub(super) fn start(&mut self, request: HttpRequest) {
        self.state = match std::mem::replace(&mut self.state, State::Idle(None)) {
            State::Idle(Some(kept)) if kept.is_usable() => State::Exchanging {
                connection: kept.connection,
                stage: Stage::Unsent(request),
            },
            _ => self.dialing(request),
        };
    }

    /// Waits for the response to the request under way. Without one it is pending for ever, and watches
    /// whether the server closes the connection. After an error the lane is idle.
    ///
    /// # Errors
    ///
    /// Every [`HttpError`] but [`HttpError::Status`].
    pub(super) fn poll_response(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<HttpResponse, HttpError>> {
        let outcome = loop {
            match &mut self.state {
                State::Idle(kept) => {
                    if kept
                        .as_mut()
                        .is_some_and(|kept| kept.connection.poll_over(context))
                    {
                        *kept = None;
                    }
                    return Poll::Pending;
                }
                State::Dialing { request, dial } => match ready!(dial.as_mut().poll(context)) {
                    Ok(connection) => {
                        let stage = Stage::Unsent(request.clone());
                        self.state = State::Exchanging { connection, stage };
                    }
                    Err(error) => break Err(error),
                },
                State::Exchanging { connection, stage } => {
                    let is_over = connection.poll_over(context);
                    match stage {
                        Stage::Unsent(request) if is_over => {
                            let request = request.clone();
                            self.state = self.dialing(request);
                        }
                        Stage::Unsent(request) => {
                            // An error says that the connection is over, which the next round finds.
                            if ready!(connection.sender.poll_ready(context)).is_ok() {
                                let request = write(request, &self.url);
                                let response = connection.sender.send_request(request);
                                *stage = Stage::Head(Box::pin(response));
                            } else {
                                connection.is_over = true;
                            }
                        }
                        Stage::Head(response) => match ready!(response.as_mut().poll(context)) {
                            Ok(response) => {
                                *stage = Stage::Body {
                                    status: response.status(),
                                    incoming: response.into_body(),
                                    received: BytesMut::new(),
                                };
                            }
                            Err(error) => break Err(HttpError::Exchange(error)),
                        },
                        Stage::Body {
                            status,
                            incoming,
                            received,
                        } => match ready!(Pin::new(incoming).poll_frame(context)) {
                            Some(Ok(frame)) => {
                                received.extend_from_slice(&frame.into_data().unwrap_or_default());
                                if received.len() > RESPONSE_BYTES_MAX {
                                    let max = RESPONSE_BYTES_MAX;
                                    break Err(HttpError::TooLarge { max });
                                }
                            }
                            Some(Err(error)) => break Err(HttpError::Exchange(error)),
                            None => {
                                break Ok(HttpResponse {
                                    status: *status,
                                    body: std::mem::take(received).freeze(),
                                });
                            }
                        },
                    }
                }
            }
        };
        let before = std::mem::replace(&mut self.state, State::Idle(None));
        if let (State::Exchanging { connection, .. }, Ok(_)) = (before, &outcome) {
            let since = Instant::now();
            self.state = State::Idle(Some(Kept { connection, since }));
        }
        Poll::Ready(outcome)
    }

    fn dialing(&self, request: HttpRequest) -> State {
        let (dialer, address) = (self.dialer.clone(), self.address);
        let dial = async move {
            let stream = dialer.reconnect(address).await;
            let stream = stream.map_err(|error| HttpError::Connect(Box::new(error)))?;
            Connection::over(stream).await
        };
        State::Dialing {
            request,
            dial: Box::pin(dial),
        }
    }
}

impl Kept {
    fn is_usable(&self) -> bool {
        !self.connection.is_over && self.since.elapsed() < IDLE_MAX
    }
}

impl Connection {
    async fn over(stream: Box<dyn ByteStream>) -> Result<Self, HttpError> {
        let (sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(HttpError::Exchange)?;
        Ok(Self {
            sender,
            driver,
            is_over: false,
        })
    }

    /// Reads and writes what can be, and answers whether the connection has ended. An error of the
    /// exchange under way is told to that.
    fn poll_over(&mut self, context: &mut Context<'_>) -> bool {
        if !self.is_over {
            self.is_over = Pin::new(&mut self.driver).poll(context).is_ready();
        }
        self.is_over
    }
}

impl std::fmt::Debug for HttpLane {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("HttpLane")
            .field("url", &self.url)
            .field("is_busy", &self.is_busy())
            .finish_non_exhaustive()
    }
}

/// A request in origin form (RFC 9112 section 3.2.1). What a poll brings is brought once, so no cache
/// may keep it.
fn write(request: &HttpRequest, url: &Uri) -> Request<Full<Bytes>> {
    let (method, body) = match request {
        HttpRequest::Get => (Method::GET, Bytes::new()),
        HttpRequest::Post(payload) => (Method::POST, Bytes::from(payload.clone())),
    };
    let is_post = method == Method::POST;
    let mut written = Request::new(Full::new(body));
    *written.method_mut() = method;
    if let Some(target) = url.path_and_query() {
        *written.uri_mut() = Uri::from(target.clone());
    }
    let headers = written.headers_mut();
    if let Some(host) = url.authority() {
        let host = header::HeaderValue::from_str(host.as_str())
            .expect("what may stand in an authority may stand in a header");
        headers.insert(header::HOST, host);
    }
    let no_store = header::HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, no_store);
    if is_post {
        let text = header::HeaderValue::from_static("text/plain;charset=UTF-8");
        headers.insert(header::CONTENT_TYPE, text);
    }
    written
}
