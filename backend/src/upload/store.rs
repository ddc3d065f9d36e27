//! Databases that take whole uploads: what the router holds.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::record::ConflictRecord;
use crate::store::StoreError;
use crate::store::memory::MemoryStore;
use crate::store::postgres::PostgresStore;
use crate::upload::apply::apply;
use crate::upload::engine::{Engine, Upload};
use crate::wire::UploadAnswer;

/// A boxed future, so that [`Store`] can be used as a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A database that takes whole uploads.
pub trait Store: Send + Sync {
    /// Applies an upload, transaction by transaction.
    ///
    /// # Errors
    /// When nothing was committed and a retry may succeed, or when the baseline met a database error.
    fn apply<'a>(&'a self, engine: &'a Engine, upload: &'a Upload) -> BoxFuture<'a, Result<UploadAnswer, StoreError>>;

    /// The subject's conflict records with a number above `after`, in order, at most `limit`.
    ///
    /// # Errors
    /// When the database does not answer.
    fn conflicts<'a>(
        &'a self,
        subject: &'a str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<ConflictRecord>, StoreError>>;

    /// Whether the database answers.
    fn is_ready(&self) -> BoxFuture<'_, bool>;
}

impl Store for MemoryStore {
    fn apply<'a>(&'a self, engine: &'a Engine, upload: &'a Upload) -> BoxFuture<'a, Result<UploadAnswer, StoreError>> {
        Box::pin(async move { self.with_session(|session| ready(apply(engine, session, upload))) })
    }

    fn conflicts<'a>(
        &'a self,
        subject: &'a str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<ConflictRecord>, StoreError>> {
        Box::pin(async move { Ok(self.conflicts_after(subject, after, limit)) })
    }

    fn is_ready(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { true })
    }
}

impl Store for PostgresStore {
    fn apply<'a>(&'a self, engine: &'a Engine, upload: &'a Upload) -> BoxFuture<'a, Result<UploadAnswer, StoreError>> {
        Box::pin(async move {
            let answer = async { apply(engine, &mut self.session().await?, upload).await };
            self.finish(answer.await).await
        })
    }

    fn conflicts<'a>(
        &'a self,
        subject: &'a str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<ConflictRecord>, StoreError>> {
        Box::pin(self.conflicts_after(subject, after, limit))
    }

    fn is_ready(&self) -> BoxFuture<'_, bool> {
        Box::pin(self.answers())
    }
}

/// Runs a future that never waits.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("a session in memory never waits"),
    }
}
