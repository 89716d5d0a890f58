//! One answer for all who ask within a while of each other, so that what it takes of control's time does not
//! grow with their number.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get};
use hyper::body::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// The last answer, for as long as it counts as fresh.
#[derive(Clone)]
pub(crate) struct Fresh {
    lasts: Duration,
    /// With when it was asked for. Held while the next one is made, so that those who come meanwhile wait for it.
    last: Arc<Mutex<Option<(Instant, Bytes)>>>,
}

impl Fresh {
    /// Nothing yet; what will be there is given out for so long.
    pub(crate) fn new(lasts: Duration) -> Self {
        Self { lasts, last: Arc::default() }
    }

    /// A path where it can be read, as this content type, made by `make` on a thread where that may wait.
    pub(crate) fn served(
        self,
        kind: &'static str,
        make: impl Fn() -> Result<String, String> + Clone + Send + Sync + 'static,
    ) -> MethodRouter {
        get(async move || match self.get(make).await {
            Ok(text) => ([(header::CONTENT_TYPE, kind)], Body::from(text)).into_response(),
            Err(refusal) => refusal.into_response(),
        })
    }

    /// The last answer, or a new one. What went wrong is not kept.
    async fn get(
        &self,
        make: impl FnOnce() -> Result<String, String> + Send + 'static,
    ) -> Result<Bytes, (StatusCode, String)> {
        let mut last = self.last.lock().await;
        if let Some((asked, text)) = last.as_ref()
            && asked.elapsed() < self.lasts
        {
            return Ok(text.clone());
        }
        let asked = Instant::now();
        match tokio::task::spawn_blocking(make).await {
            Ok(Ok(text)) => {
                let text = Bytes::from(text);
                *last = Some((asked, text.clone()));
                Ok(text)
            }
            Ok(Err(message)) => Err((StatusCode::SERVICE_UNAVAILABLE, message + "\n")),
            Err(_) => Err((StatusCode::INTERNAL_SERVER_ERROR, "failed inside\n".into())),
        }
    }
}
