//! What the app's process holds in memory while it runs.

use std::future::Future;
use std::pin::Pin;

use sim_core::history::Moment;
use sim_network::{NetError, Response, StreamEvent, StreamResponse, SyncStream};
use tokio::time::Instant;

use crate::error::DeviceError;
use crate::host::{Host, QueuedTx};

/// A request that is under way, if there is one.
pub(super) type Pending<T> = Option<Pin<Box<dyn Future<Output = T>>>>;

/// A process, from its start to its end.
pub(super) struct Session {
    pub(super) host: Host,
    pub(super) is_suspended: bool,
    /// The request for a stream.
    pub(super) opening: Pending<Result<StreamResponse, NetError>>,
    pub(super) stream: Option<Box<dyn SyncStream>>,
    /// When the stream last brought something.
    pub(super) last_received: Instant,
    pub(super) connect_at: Option<Instant>,
    pub(super) upload_at: Option<Instant>,
    pub(super) upload: Pending<Result<Response, NetError>>,
    /// What is being uploaded.
    pub(super) uploading_tx: Option<QueuedTx>,
    /// The response to an upload is there and not stored yet.
    pub(super) is_answered: bool,
    pub(super) write_checkpoint: Pending<Result<Response, NetError>>,
    /// The queue's sequence number when the write checkpoint was asked for.
    pub(super) queue_sequence: i64,
}

impl Session {
    pub(super) fn new(host: Host, connect_at: Instant) -> Self {
        Self {
            host,
            is_suspended: false,
            opening: None,
            stream: None,
            last_received: connect_at,
            connect_at: Some(connect_at),
            upload_at: None,
            upload: None,
            uploading_tx: None,
            is_answered: false,
            write_checkpoint: None,
            queue_sequence: 0,
        }
    }

    /// How far its upload is.
    pub(super) fn moment(&mut self) -> Result<Moment, DeviceError> {
        Ok(if self.is_answered {
            Moment::AfterAnswer
        } else if self.upload.is_some() {
            Moment::AfterSend
        } else if self.host.queue_length()? > 0 {
            Moment::BeforeSend
        } else if self.write_checkpoint.is_some() || self.host.write_checkpoint_needed()?.is_some() {
            Moment::BeforeWriteCheckpoint
        } else {
            Moment::Idle
        })
    }

    /// Whether an upload or its write checkpoint is under way.
    pub(super) fn is_uploading(&self) -> bool {
        self.upload.is_some() || self.write_checkpoint.is_some()
    }

    /// Ends the stream, open or requested, and connects again later.
    pub(super) fn reconnect_at(&mut self, at: Instant) {
        self.stream = None;
        self.opening = None;
        self.connect_at = Some(at);
    }
}

/// Waits for a request; for ever if there is none.
pub(super) async fn finished<T>(pending: &mut Pending<T>) -> T {
    match pending {
        Some(future) => {
            let value = future.await;
            *pending = None;
            value
        }
        None => std::future::pending().await,
    }
}

/// Waits for a stream; for ever if there is none.
pub(super) async fn next_event(stream: &mut Option<Box<dyn SyncStream>>) -> StreamEvent {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}
