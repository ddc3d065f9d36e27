//! How far a service has replicated by what its slot has confirmed, for services that do not say it themselves.

use std::future::Future;

use tokio_postgres::Client;

/// Asks the database, over a session that is kept.
#[derive(Default)]
pub(crate) struct ConfirmedPosition(tokio::sync::Mutex<Option<Client>>);

impl ConfirmedPosition {
    /// The position that an active slot with a name like this has confirmed.
    pub(crate) async fn of_slot(
        &self,
        connect: impl Future<Output = Result<Client, String>> + Send,
        slot: &str,
    ) -> Option<u64> {
        let mut session = self.0.lock().await;
        let client = match session.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => connect.await.ok()?,
        };
        let confirmed = confirmed(&client, slot).await.ok()?;
        *session = Some(client);
        confirmed
    }
}

async fn confirmed(client: &Client, slot: &str) -> Result<Option<u64>, tokio_postgres::Error> {
    let sql = "SELECT (confirmed_flush_lsn - '0/0'::pg_lsn)::int8 FROM pg_replication_slots \
         WHERE slot_name LIKE $1 AND active ORDER BY 1 DESC NULLS LAST LIMIT 1";
    let row = client.query_opt(sql, &[&slot]).await?;
    Ok(row.and_then(|row| row.get::<_, Option<i64>>(0)).map(i64::cast_unsigned))
}
