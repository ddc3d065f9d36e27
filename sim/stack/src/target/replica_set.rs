//! Where a MongoDB is, as its URL says.

use super::percent_decoded;

/// Where a MongoDB is, and who asks.
pub struct Place {
    /// `host:port`, one or several.
    pub hosts: Vec<String>,
    /// Of the replica set, where the URL names it.
    pub set: Option<String>,
    /// Whether the URL asks for TLS.
    pub wants_tls: bool,
    pub user: Option<(String, String)>,
}

impl Place {
    /// Reads `mongodb://user:password@host:port,…/…?replicaSet=…`.
    ///
    /// # Errors
    /// What would be right; nothing of the URL is repeated.
    pub fn parse(url: &str) -> Result<Self, String> {
        let example = "mongodb://user:password@host:27017/?replicaSet=rs0";
        if url.starts_with("mongodb+srv://") {
            return Err(format!("names in DNS (mongodb+srv) are not looked up here; name the hosts, as in {example}"));
        }
        let wrong = || format!("must be such as {example}");
        let rest = url.strip_prefix("mongodb://").ok_or_else(wrong)?;
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = before.split('/').next().unwrap_or_default();
        let (user, hosts) = authority.rsplit_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
        let user = user.map(|user| {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            (percent_decoded(name), percent_decoded(password))
        });
        let host = |host: &str| if host.contains(':') { host.to_owned() } else { format!("{host}:27017") };
        let hosts: Vec<String> = hosts.split(',').filter(|host| !host.is_empty()).map(host).collect();
        let is_port = |host: &String| host.rsplit_once(':').is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok());
        if hosts.is_empty() || !hosts.iter().all(is_port) {
            return Err(wrong());
        }
        let option = |wanted: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned())
        };
        let wants_tls = ["tls", "ssl"].iter().any(|name| option(name).as_deref() == Some("true"));
        Ok(Self { hosts, set: option("replicaSet"), wants_tls, user })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let place = Place::parse("mongodb://us%40er:p%3Aw@a,b:1/x?replicaSet=rs0&tls=true").expect("it is one");
        assert_eq!(place.hosts, ["a:27017", "b:1"]);
        assert_eq!((place.set.as_deref(), place.wants_tls), (Some("rs0"), true));
        assert_eq!(place.user, Some(("us@er".to_owned(), "p:w".to_owned())));
        for url in ["", "mongodb://", "http://h", "mongodb://u:hush@", "mongodb://h:x", "mongodb+srv://u:hush@h"] {
            assert!(Place::parse(url).is_err_and(|said| !said.contains("hush")), "{url}");
        }
    }
}
