//! Many statements in one round trip.

use std::future::poll_fn;
use std::task::Poll;

use futures_util::FutureExt;
use futures_util::future::maybe_done;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

/// One statement of a pipeline.
pub(super) enum Step {
    /// A statement without parameters, by the simple protocol.
    Plain(&'static str),
    /// A prepared statement.
    Prepared(Statement, Params),
}

/// Parameters that a statement owns.
pub(super) type Params = Vec<Box<dyn ToSql + Send + Sync>>;

/// Boxes one parameter.
pub(super) fn param<T: ToSql + Send + Sync + 'static>(value: T) -> Box<dyn ToSql + Send + Sync> {
    Box::new(value)
}

async fn run(client: &Client, step: Step) -> Result<Vec<Row>, Error> {
    match step {
        Step::Plain(sql) => client.batch_execute(sql).await.map(|()| Vec::new()),
        Step::Prepared(statement, params) => {
            let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|param| &**param as _).collect();
            client.query(&statement, &params).await
        }
    }
}

/// Sends all statements, in order, before it waits for the first answer; returns the rows of each.
///
/// # Errors
/// The first failure, with the position of its statement. Later statements were sent too: inside a transaction they fail
/// as well, and COMMIT rolls back.
pub(super) async fn pipeline(client: &Client, steps: Vec<Step>) -> Result<Vec<Vec<Row>>, (usize, Error)> {
    let mut sent: Vec<_> = steps.into_iter().map(|step| Box::pin(maybe_done(run(client, step)))).collect();
    // The library sends a statement when its future is polled for the first time.
    poll_fn(|context| {
        for future in &mut sent {
            let _ = future.poll_unpin(context);
        }
        Poll::Ready(())
    })
    .await;
    let mut answers = Vec::with_capacity(sent.len());
    for (position, mut future) in sent.into_iter().enumerate() {
        future.as_mut().await;
        let answer = future.as_mut().take_output().expect("it has just ended");
        answers.push(answer.map_err(|error| (position, error))?);
    }
    Ok(answers)
}
