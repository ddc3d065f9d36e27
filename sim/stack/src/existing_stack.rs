//! A stack that somebody else runs: where it is, whose tokens are used, and how long anything may take. Read from
//! arguments, or from a deployment's folder; what the arguments say wins.
//!
//! `deployment` reads such a folder, `token` says who asks and with which key (`jwk` as people keep them); `http`,
//! `database` and `program` ask, each with a bound.

pub mod args;
pub mod database;
pub mod deployment;
pub mod http;
pub mod jwk;
pub mod program;
pub mod token;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::backend::store::postgres::tls::Address;
use fixtures::App;

use self::args::StackArgs;
use self::deployment::Deployment;
use self::http::Http;
use self::token::{Source, Token};

/// The subject of tokens where the application names no user.
const USUAL_SUBJECT: &str = "local-user";
/// The audience of tokens where nothing says otherwise.
const USUAL_AUDIENCE: &str = "powersync";
/// What is put in the place of a secret.
const HIDDEN: &str = "***";
/// Texts shorter than this are no secrets: hiding them would tear words apart.
const SECRET_MIN: usize = 3;

/// A stack.
pub struct ExistingStack {
    /// The application that it serves.
    pub app: Arc<App>,
    /// The sync service's URL, without a slash at its end.
    pub service: Option<String>,
    /// The upload backend's URL, without a slash at its end.
    pub backend: Option<String>,
    /// The database's URL, with its password.
    pub postgres: Option<String>,
    /// The bucket storage's URL, with its password.
    pub mongodb: Option<String>,
    /// The cache's URL, with its password.
    pub redis: Option<String>,
    /// The web client's origin.
    pub origin: Option<String>,
    /// A token that is valid from the start.
    pub token: Option<Token>,
    /// Where further tokens come from.
    pub source: Option<Source>,
    /// The user that was asked for.
    pub subject: Option<String>,
    /// The audience of tokens.
    pub audience: String,
    /// The replication slot; any that begins with powersync when absent.
    pub slot: Option<String>,
    /// The publication.
    pub publication: String,
    /// The folder that it was started from, where that is known.
    pub deployment: Option<Deployment>,
    /// How it is asked over HTTP.
    pub http: Http,
    secrets: Vec<String>,
}

impl ExistingStack {
    /// Reads the arguments. The application is the deployment's own, or FlowState, where none is named.
    ///
    /// # Errors
    /// The first thing that is wrong: the flag, and what would be right. No password is repeated.
    pub fn new(args: &StackArgs, app: Option<&str>) -> Result<Self, String> {
        let deployment = args.deployment.as_deref().map(Deployment::read).transpose()?;
        let of_folder = deployment.as_ref();
        let service = args.powersync_url.clone().or_else(|| of_folder.map(Deployment::service_url));
        let backend = args.backend_url.clone().or_else(|| of_folder.map(Deployment::backend_url));
        let postgres = args.postgres_url.clone().or_else(|| of_folder.map(Deployment::postgres_url));
        let mongodb = args.mongodb_url.clone().or_else(|| of_folder.and_then(Deployment::mongodb_url));
        let redis = args.redis_url.clone().or_else(|| of_folder.map(Deployment::redis_url));
        if [&service, &backend, &postgres, &mongodb, &redis].iter().all(|place| place.is_none()) {
            return Err(
                "nothing to look at: name --deployment DIR, or at least one of --powersync-url, --backend-url, \
                        --postgres-url, --mongodb-url and --redis-url"
                    .to_owned(),
            );
        }
        let service = service.map(|url| web("--powersync-url", &url, "http://127.0.0.1:8080")).transpose()?;
        let backend = backend.map(|url| web("--backend-url", &url, "http://127.0.0.1:3000")).transpose()?;
        if let Some(url) = &postgres {
            check_postgres(url)?;
        }
        if let Some(url) = &mongodb {
            check_mongodb(url)?;
        }
        if let Some(url) = &redis {
            check_redis(url)?;
        }
        let app_name = app.map(str::to_owned).or_else(|| of_folder.map(Deployment::app));
        let app = Arc::new(App::named(app_name.as_deref().unwrap_or("flowstate"))?);
        let origin = args.origin.clone().or_else(|| of_folder.map(|folder| folder.origin().to_owned()));
        if let Some(origin) = &origin {
            check_origin(origin)?;
        }
        let audience = args.audience.clone().or_else(|| of_folder.map(|folder| folder.audience().to_owned()));
        let audience = audience.unwrap_or_else(|| USUAL_AUDIENCE.to_owned());
        let user = app.users.first().map_or(USUAL_SUBJECT, String::as_str);
        let subject = args.subject.clone().unwrap_or_else(|| user.to_owned());
        let source = match (token::of_arguments(args)?, of_folder) {
            (None, Some(folder)) => Some(("--deployment", Source::Signer(folder.signer()?))),
            (source, _) => source,
        };
        let first = |(flag, source): &(&str, Source)| {
            source.token(&subject, &audience).map_err(|said| format!("{flag}: {said}"))
        };
        let token = source.as_ref().map(first).transpose()?;
        let mut secrets: Vec<String> = of_folder.map(Deployment::secrets).unwrap_or_default();
        secrets.extend(args.token_secret.clone());
        secrets.extend(token.iter().map(|token| token.text.clone()));
        secrets.extend([&postgres, &mongodb, &redis].into_iter().flatten().filter_map(|url| password_of(url)));
        // A password may stand in a message as it is, too.
        let decoded: Vec<String> = secrets.iter().map(|secret| percent_decoded(secret)).collect();
        secrets.extend(decoded);
        secrets.retain(|secret| secret.len() >= SECRET_MIN);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Ok(Self {
            app,
            service,
            backend,
            postgres,
            mongodb,
            redis,
            origin,
            token,
            source: source.map(|(_, source)| source),
            subject: args.subject.clone(),
            audience,
            slot: args.slot.clone(),
            publication: args.publication.clone(),
            deployment,
            http: Http::new(args.patience())?,
            secrets,
        })
    }

    /// How long one answer may take.
    pub fn patience(&self) -> Duration {
        self.http.patience()
    }

    /// Where the parts are, without passwords.
    pub fn places(&self) -> BTreeMap<&'static str, String> {
        let web = [("service", self.service.clone()), ("backend", self.backend.clone())];
        let stores = [("database", &self.postgres), ("redis", &self.redis), ("mongodb", &self.mongodb)];
        let stores = stores.map(|(name, url)| (name, url.as_deref().map(without_password)));
        web.into_iter().chain(stores).filter_map(|(name, url)| Some((name, url?))).collect()
    }

    /// The text with every known secret put out of sight.
    pub fn without_secrets(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
    }
}

/// The error and what lies behind it.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let further = cause.to_string();
        if !said.contains(&further) {
            said = format!("{said}: {further}");
        }
        source = cause.source();
    }
    said
}

/// A URL of HTTP, without a slash at its end.
fn web(flag: &str, url: &str, example: &str) -> Result<String, String> {
    let uri = url.parse::<::http::Uri>().ok().filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    match uri.as_ref().and_then(::http::Uri::authority) {
        // A name and a password in a URL are sent nowhere and would be shown.
        Some(authority)
            if !authority.as_str().contains('@') && !authority.host().is_empty() && !url.contains(['?', '#']) =>
        {
            Ok(url.trim_end_matches('/').to_owned())
        }
        _ => Err(format!("{flag}: write scheme, host and port, such as {example}")),
    }
}

fn check_postgres(url: &str) -> Result<(), String> {
    let example = "postgres://user:password@host:5432/database?sslmode=require";
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(format!("--postgres-url: must be such as {example}"));
    }
    Address::parse(url)
        .and_then(|address| address.connector().map(drop))
        .map_err(|said| format!("--postgres-url: {said}; write one such as {example}"))
}

/// Its driver reads the rest, where it is used.
fn check_mongodb(url: &str) -> Result<(), String> {
    let example = "mongodb://user:password@host:27017/?replicaSet=rs0";
    if url.starts_with("mongodb+srv://") {
        return Err(format!("--mongodb-url: DNS is not asked for hosts (mongodb+srv); name them, as in {example}"));
    }
    if url.starts_with("mongodb://") { Ok(()) } else { Err(format!("--mongodb-url: must be such as {example}")) }
}

fn check_redis(url: &str) -> Result<(), String> {
    let is_one =
        ["redis://", "rediss://"].iter().any(|scheme| url.starts_with(scheme)) && redis::Client::open(url).is_ok();
    let example = "redis://:password@host:6379, or rediss:// for TLS";
    if is_one { Ok(()) } else { Err(format!("--redis-url: must be such as {example}")) }
}

fn check_origin(origin: &str) -> Result<(), String> {
    let host = origin.split_once("://").map(|(_, host)| host).unwrap_or_default();
    let is_one = !host.is_empty() && !host.contains(['/', '*', '?', '#', '@', ' ']) && origin.is_ascii();
    if is_one { Ok(()) } else { Err("--origin: write scheme and host, such as http://localhost:5173".to_owned()) }
}

/// The part of a URL that holds name and password, and where it is.
fn user_info(url: &str) -> Option<(usize, &str)> {
    let begin = url.find("://")? + 3;
    let rest = &url[begin..];
    let end = rest.find('/').map_or(rest, |end| &rest[..end]).rfind('@')?;
    Some((begin, &rest[..end]))
}

/// The password of a URL.
pub fn password_of(url: &str) -> Option<String> {
    user_info(url)?.1.split_once(':').map(|(_, password)| password.to_owned()).filter(|password| !password.is_empty())
}

/// The URL, with its password put out of sight.
pub fn without_password(url: &str) -> String {
    match user_info(url) {
        Some((begin, info)) if info.contains(':') => {
            let name = info.split_once(':').map_or(info, |(name, _)| name);
            format!("{}{name}:{HIDDEN}{}", &url[..begin], &url[begin + info.len()..])
        }
        _ => url.to_owned(),
    }
}

/// The text with each `%XX` replaced by its byte.
pub fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let code = (*byte == b'%').then(|| after.get(..2)).flatten();
        match code.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()) {
            Some(code) => {
                bytes.push(code);
                rest = &after[2..];
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden() {
        let table = [
            ("postgres://user:p%40ss@h:1/d?x=y", Some("p%40ss"), "postgres://user:***@h:1/d?x=y"),
            ("redis://:secret@h:1", Some("secret"), "redis://:***@h:1"),
            ("redis://h:1", None, "redis://h:1"),
            ("postgres://user@h/d", None, "postgres://user@h/d"),
            ("http://h/a@b:c", None, "http://h/a@b:c"),
        ];
        for (url, password, shown) in table {
            assert_eq!(password_of(url).as_deref(), password, "{url}");
            assert_eq!(without_password(url), shown);
        }
        assert_eq!(percent_decoded("p%40s%"), "p@s%");
    }

    #[test]
    fn addresses_are_read() {
        assert_eq!(web("--x", "http://h:1/", "e"), Ok("http://h:1".to_owned()));
        for url in ["h:1", "ftp://h", "http://", "http://a:b@h", "http://h?x", "/x", ""] {
            assert!(
                web("--x", url, "an example").is_err_and(|said| said.contains("--x") && said.contains("an example"))
            );
        }
        for (origin, is_one) in [("http://localhost:5173", true), ("https://a.b/", false), ("*", false), ("a.b", false)]
        {
            assert_eq!(check_origin(origin).is_ok(), is_one, "{origin}");
        }
        assert!(check_postgres("postgres://u:hush@h/d?sslmode=always").is_err_and(|said| !said.contains("hush")));
    }
}
