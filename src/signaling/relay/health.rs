//! What is answered to requests for anything but the Engine.IO endpoint.

use std::convert::Infallible;
use std::future::{Ready, ready};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::service::Service;
use serde_json::json;

use super::hub::Hub;

/// The path that says whether the relay serves.
pub(super) const HEALTH_PATH: &str = "/health";

/// Answers every request with 404.
#[derive(Debug, Clone)]
pub(super) struct NotFound;

impl<B> Service<Request<B>> for NotFound {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn call(&self, _: Request<B>) -> Self::Future {
        ready(Ok(response(StatusCode::NOT_FOUND, Bytes::new())))
    }
}

/// Says whether the relay serves, and how many use it.
pub(super) fn health(hub: &Hub, method: &Method) -> Response<Full<Bytes>> {
    if method != Method::GET {
        return response(StatusCode::METHOD_NOT_ALLOWED, Bytes::new());
    }
    let (status, text) = if hub.is_serving() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "shutting-down")
    };
    let (connections, calls) = hub.counts();
    let body = json!({ "status": text, "connections": connections, "calls": calls });
    let mut response = response(status, body.to_string().into());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// Asks a client to come back later, on another connection.
pub(super) fn unavailable() -> Response<Full<Bytes>> {
    let mut response = response(StatusCode::SERVICE_UNAVAILABLE, Bytes::new());
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

fn response(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
}
