//! A stack of our own servers that no plan runs on: `syncstorm up`, benchmarks, and tests use it.

use std::time::Duration;

use sim_network::ServerRole;

use super::environment::{EmbeddedEnvironment, EmbeddedPool};
use super::process::Process;
use crate::real::commit_log::OWN_SLOT;
use crate::real::environment::PlanData;
use crate::real::http_client::http_client;
use crate::real::pool::WorkerEnvironment;
use crate::real::server::Server as _;
use crate::token::{AUDIENCE, TokenIssuer, sign};

/// A stack that runs by the machine's clock until it is dropped.
pub struct RunningStack {
    /// The upload backend.
    pub backend_url: String,
    /// The sync service.
    pub service_url: String,
    /// The database, with its password.
    pub database_url: String,
    /// Whom the token is for.
    pub user: String,
    /// A token that both servers take.
    pub token: String,
    /// How long the backend and the service took, from the start of their processes until they were ready.
    pub ready_after: [Duration; 2],
    /// Their process ids.
    pub process_ids: [i32; 2],
    /// Ended in this order.
    servers: [Process; 2],
    worker: WorkerEnvironment<EmbeddedEnvironment>,
}

/// How long its token is good for.
const TOKEN_LIFETIME_S: i64 = 86_400;

impl RunningStack {
    /// Starts a stack with an empty database.
    ///
    /// # Errors
    /// Why it did not come up.
    pub fn start(pool: &EmbeddedPool) -> Result<Self, String> {
        let worker = pool.take()?;
        let runtime = worker.runtime();
        let environment = worker.environment.clone();
        // The servers end with the thread that started them: the runtime's stays.
        let started = runtime.spawn(async move {
            let (log, issuer) = environment.reset(&PlanData::default()).await?;
            let TokenIssuer::SigningKey(key) = issuer else { return Err("no key signs tokens".to_owned()) };
            // Nobody reads it here, and it would keep the log for ever.
            log.execute(&format!("SELECT pg_drop_replication_slot('{OWN_SLOT}')")).await?;
            let http = http_client();
            let (backend, service) = tokio::join!(
                environment.start_by_machine_clock(ServerRole::Backend, &http, &["--development"]),
                environment.start_by_machine_clock(ServerRole::Service, &http, &[])
            );
            Ok::<_, String>(([backend?, service?], key))
        });
        let (servers, key) = runtime.block_on(started).map_err(|error| error.to_string())??;
        let [(backend, backend_after), (service, service_after)] = servers;
        let user = "user-1".to_owned();
        let now_s = backend::server::machine_clock_us().div_euclid(1_000_000);
        let token = sign(&key, &user, AUDIENCE, now_s, now_s + TOKEN_LIFETIME_S);
        Ok(Self {
            backend_url: format!("http://{}", backend.address()),
            service_url: format!("http://{}", service.address()),
            database_url: worker.environment.url.clone(),
            user,
            token,
            ready_after: [backend_after, service_after],
            process_ids: [backend.pid(), service.pid()],
            servers: [backend, service],
            worker,
        })
    }

    /// Ends the servers, and gives the database back to the pool.
    pub fn stop(self, pool: &EmbeddedPool) {
        drop(self.servers);
        pool.give_back(self.worker);
    }
}
