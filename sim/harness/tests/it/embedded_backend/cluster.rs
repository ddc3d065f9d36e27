//! The private PostgreSQL: it comes up, survives its own death, and leaves nothing behind.

use std::os::unix::fs::MetadataExt;

use sim_stack::postgres::{Postgres, Settings};

async fn count(cluster: &Postgres) -> i64 {
    let client = cluster.connect("postgres").await.expect("the cluster answers");
    client.query_one("SELECT count(*) FROM written", &[]).await.expect("the table is there").get(0)
}

#[tokio::test]
async fn a_cluster_lives_dies_and_comes_back() {
    let settings = Settings { is_durable: true, ..Settings::default() };
    let mut cluster = Postgres::start(settings).await.expect("PostgreSQL is installed");
    let folder = cluster.authority_file().parent().expect("it lies in the cluster's folder").to_owned();
    let client = cluster.connect("postgres").await.expect("it answers");
    let settings = client
        .query_one(
            "SELECT current_setting('wal_level'), current_setting('ssl'), current_setting('fsync'),
                 (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()),
                 (SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = current_user)",
            &[],
        )
        .await
        .expect("a superuser may look");
    let text = |index: usize| settings.get::<_, String>(index);
    assert_eq!((text(0).as_str(), text(1).as_str(), text(2).as_str()), ("logical", "on", "on"));
    assert!(settings.get::<_, bool>(3), "the connection is encrypted");
    assert!(settings.get::<_, bool>(4), "the password is kept as scram-sha-256");
    if nix_is_root() {
        let owner = std::fs::metadata(folder.join("data")).expect("the data folder is there").uid();
        assert_ne!(owner, 0, "PostgreSQL does not run as root");
    }

    // A wrong password, and nobody to vouch for the certificate.
    let wrong = cluster.bare_url("postgres").replace(cluster.password(), "wrong");
    let refused = wrong.parse::<tokio_postgres::Config>().expect("a URL").connect(cluster.tls().expect("a CA")).await;
    assert!(refused.err().expect("it is wrong").code().is_some_and(|code| code.code() == "28P01"));
    let other = Postgres::start(Settings::default()).await.expect("two at a time");
    assert_ne!((other.port(), other.password()), (cluster.port(), cluster.password()));
    let stranger = cluster.config("postgres").connect(other.tls().expect("a CA")).await;
    assert!(stranger.is_err(), "a certificate of another cluster's authority is not believed");
    other.stop().await.expect("it shuts down");

    client.batch_execute("CREATE TABLE written (n int); INSERT INTO written VALUES (1)").await.expect("lawful");
    let port = cluster.port();
    cluster.kill_hard().await.expect("it can be killed");
    assert!(cluster.connect("postgres").await.is_err(), "nobody answers");
    assert!(client.batch_execute("SELECT 1").await.is_err(), "the old connection is gone");
    cluster.restart().await.expect("it comes back");
    assert_eq!((cluster.port(), count(&cluster).await), (port, 1), "what was committed is there");

    // Frozen, it takes no statement; thawed, it answers the one that waited.
    let client = cluster.connect("postgres").await.expect("it answers");
    cluster.pause().expect("it can be frozen");
    let mut waiting = tokio::spawn(async move { client.batch_execute("INSERT INTO written VALUES (2)").await });
    let early = tokio::time::timeout(std::time::Duration::from_millis(200), &mut waiting).await;
    assert!(early.is_err(), "a frozen server answers nothing");
    cluster.resume().expect("it can be thawed");
    waiting.await.expect("no panic").expect("the statement went through");
    assert_eq!(count(&cluster).await, 2);

    cluster.restart().await.expect("a running one restarts too");
    assert_eq!(count(&cluster).await, 2);
    assert!(folder.is_dir());
    cluster.stop().await.expect("it shuts down");
    assert!(!folder.exists(), "nothing is left behind");
}

fn nix_is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|found| found.uid() == 0)
}

/// A folder whose owner is dead is removed at the next start; one whose owner lives is not.
#[tokio::test]
async fn leftovers_are_swept() {
    let folder = |name: &str, owner: &str| {
        let path = std::env::temp_dir().join(format!("syncstorm-pg-test-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary folder can be written");
        std::fs::write(path.join("owner"), owner).expect("the temporary folder can be written");
        path
    };
    let mut gone = std::process::Command::new("true").spawn().expect("there is a program true");
    let dead = gone.id();
    gone.wait().expect("it ends");
    let of_the_dead = folder("dead", &format!("{dead} 1"));
    let of_the_living = folder("living", &std::process::id().to_string());
    let nameless = folder("nameless", "");
    let cluster = Postgres::start(Settings::default()).await.expect("PostgreSQL is installed");
    assert!(!of_the_dead.exists());
    assert!(of_the_living.is_dir() && nameless.is_dir());
    let own = cluster.authority_file().parent().expect("a folder").to_owned();
    drop(cluster);
    assert!(!own.exists(), "dropping removes everything too");
    for path in [of_the_living, nameless] {
        std::fs::remove_dir_all(path).expect("it is ours");
    }
}
