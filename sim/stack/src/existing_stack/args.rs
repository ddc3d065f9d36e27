//! Where a stack is, as arguments of a command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// Where a stack is, and whose tokens are used. What is not named is not asked.
#[derive(Clone, Default, Args)]
pub struct StackArgs {
    /// A folder that `deploy init` made: where its stack is, and its keys; what is named besides wins.
    #[arg(long, value_name = "DIR")]
    pub deployment: Option<PathBuf>,
    /// The sync service.
    #[arg(long, value_name = "URL")]
    pub powersync_url: Option<String>,
    /// The upload backend.
    #[arg(long, value_name = "URL")]
    pub backend_url: Option<String>,
    /// PostgreSQL, with sslmode and sslrootcert. Others on the machine can read flags: prefer the environment.
    #[arg(long, value_name = "URL", env = "SYNCSTORM_POSTGRES_URL", hide_env_values = true)]
    pub postgres_url: Option<String>,
    /// MongoDB, the service's bucket storage.
    #[arg(long, value_name = "URL", env = "SYNCSTORM_MONGODB_URL", hide_env_values = true)]
    pub mongodb_url: Option<String>,
    /// Redis, the backend's cache.
    #[arg(long, value_name = "URL", env = "SYNCSTORM_REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,
    /// The web client's origin, such as http://localhost:5173.
    #[arg(long, value_name = "ORIGIN")]
    pub origin: Option<String>,
    /// Sign tokens with this shared secret (HS256).
    #[arg(long, value_name = "SECRET", env = "SYNCSTORM_TOKEN_SECRET", hide_env_values = true)]
    pub token_secret: Option<String>,
    /// Sign tokens with the key in this file: PKCS#8 in PEM, a private JWK, or a key file of the backend.
    #[arg(long, value_name = "FILE")]
    pub token_key: Option<PathBuf>,
    /// Take the token that this command prints.
    #[arg(long, value_name = "COMMAND")]
    pub token_command: Option<String>,
    /// The key's name in tokens [default: the key file's own; local-dev-key for a shared secret].
    #[arg(long, value_name = "ID")]
    pub kid: Option<String>,
    /// The audience of tokens [default: powersync].
    #[arg(long)]
    pub audience: Option<String>,
    /// The user that tokens are for [default: the application's first].
    #[arg(long, value_name = "SUB")]
    pub subject: Option<String>,
    /// The replication slot; any that begins with powersync when absent.
    #[arg(long, value_name = "NAME")]
    pub slot: Option<String>,
    /// The publication.
    #[arg(long, value_name = "NAME", default_value = fixtures::PUBLICATION)]
    pub publication: String,
    /// How long one answer may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub patience_seconds: u64,
}

impl StackArgs {
    /// How long one answer may take.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.patience_seconds)
    }
}
