//! What both foreign endpoints have of a database: sessions, statements out of JSON, and one shared secret.

use ::backend::store::postgres::tls::Address;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value as Json};
use tokio_postgres::Client;

/// What signs all tokens. It stands in the source, as it did.
pub(super) const SECRET: &str = "the-one-shared-secret-of-the-first-handler";

/// Sessions that nobody uses at the moment, and where others come from.
pub(super) struct Sessions {
    address: Address,
    idle: std::sync::Mutex<Vec<Client>>,
}

impl Sessions {
    pub(super) fn new(url: &str) -> Self {
        Self { address: Address::parse(url).expect("the cluster's own URL"), idle: std::sync::Mutex::default() }
    }

    /// Runs statements in one transaction; any error rolls it back.
    pub(super) async fn transaction(&self, statements: &[String]) -> Result<(), tokio_postgres::Error> {
        let idle = self.idle.lock().expect("nothing panics with it").pop();
        let client = match idle {
            Some(client) => client,
            None => self.connect().await?,
        };
        client.batch_execute("BEGIN").await?;
        let mut done = Ok(());
        for statement in statements {
            done = client.batch_execute(statement).await;
            if done.is_err() {
                break;
            }
        }
        client.batch_execute(if done.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
        self.idle.lock().expect("nothing panics with it").push(client);
        done
    }

    async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (config, tls) = self.address.connector().expect("the cluster's own URL");
        let (client, connection) = config.connect(tls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

/// Whether a request has a token of the secret; nothing of it is looked at but signature and end.
pub(super) fn is_let_in(headers: &HeaderMap) -> bool {
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_aud = false;
    let key = DecodingKey::from_secret(SECRET.as_bytes());
    token.is_some_and(|token| jsonwebtoken::decode::<Json>(token, &key, &validation).is_ok())
}

/// An insert that overwrites, on a conflicting id, what was sent.
pub(super) fn upsert(table: &str, id: &Json, data: &Map<String, Json>) -> String {
    let names: Vec<String> = data.keys().map(|name| format!("\"{name}\"")).collect();
    let values: Vec<String> = data.values().map(literal).collect();
    let update: Vec<String> = names.iter().map(|name| format!("{name} = EXCLUDED.{name}")).collect();
    format!(
        "INSERT INTO \"{table}\" ({}) VALUES ({}) ON CONFLICT (id) DO UPDATE SET {}",
        [vec!["id".to_owned()], names].concat().join(", "),
        [vec![literal(id)], values].concat().join(", "),
        update.join(", ")
    )
}

pub(super) fn assignments(data: &Map<String, Json>) -> String {
    let one = |(name, value): (&String, &Json)| format!("\"{name}\" = {}", literal(value));
    data.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A value as drivers pass it: text that takes the type of its column.
pub(super) fn literal(value: &Json) -> String {
    match value {
        Json::Null => "NULL".to_owned(),
        Json::String(text) => format!("'{}'", text.replace('\'', "''")),
        other => format!("'{}'", other.to_string().replace('\'', "''")),
    }
}
