//! The admin listener: HTTP for those who look after the broker. Above the broker; reads only.
//!
//! - [`readiness`] why the broker does or does not serve
//! - [`bounded`] a listener that takes no more connections than it should
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | Prometheus' text format |
//! | `/healthz` | 200 while anything answers |
//! | `/readyz` | 200, or 503 with `{"ready":false,"reasons":[…]}` |

pub mod bounded;
pub mod readiness;

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::admin::bounded::BoundedListener;
use crate::admin::readiness::Readiness;
use crate::metrics::Metrics;

/// Connections open at once; the next wait in the system's backlog. Scrapers and probes need a handful.
pub const CONNECTIONS_MAX: usize = 64;

/// What the pages show. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AdminState {
    /// All metrics.
    pub metrics: Arc<Metrics>,
    /// Whether the broker serves.
    pub readiness: Arc<Readiness>,
}

/// Serves until `shutdown` completes, then lets open requests finish.
///
/// # Errors
/// The listener's.
pub async fn serve(
    listener: TcpListener,
    state: AdminState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = BoundedListener::new(listener, CONNECTIONS_MAX);
    axum::serve(listener, router(state)).with_graceful_shutdown(shutdown).await
}

fn router(state: AdminState) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(state)
}

async fn metrics(State(state): State<AdminState>) -> Response {
    state.metrics.ready.set(i64::from(state.readiness.reasons().is_empty()));
    match state.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, Metrics::MEDIA_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn readyz(State(state): State<AdminState>) -> Response {
    let reasons = state.readiness.reasons();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons });
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::oneshot;

    use super::{AdminState, serve};
    use crate::admin::readiness::{Condition, Readiness};
    use crate::metrics::Metrics;

    async fn get(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_pages_tell_the_state_of_the_broker() {
        let metrics = Arc::new(Metrics::new(0.0).unwrap());
        let readiness = Arc::new(Readiness::starting());
        let state = AdminState { metrics: Arc::clone(&metrics), readiness: Arc::clone(&readiness) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, state, async {
            drop(stopped.await);
        }));

        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let starting = get(address, "/readyz").await;
        assert!(starting.starts_with("HTTP/1.1 503"), "{starting}");
        assert!(starting.contains(r#"{"ready":false,"reasons":["start: replaying the journal"]}"#));

        readiness.clear(Condition::Start);
        let ready = get(address, "/readyz").await;
        assert!(
            ready.starts_with("HTTP/1.1 200") && ready.contains(r#"{"ready":true,"reasons":[]}"#)
        );
        let page = get(address, "/metrics").await;
        assert!(page.contains("content-type: text/plain; version=0.0.4"), "{page}");
        assert!(page.contains("\nrialto_ready 1\n"));

        readiness.set(Condition::Journal, "no space left on device");
        assert!(get(address, "/readyz").await.contains("journal: no space left on device"));
        assert!(get(address, "/metrics").await.contains("\nrialto_ready 0\n"));
        assert!(get(address, "/other").await.starts_with("HTTP/1.1 404"));

        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
    }
}
