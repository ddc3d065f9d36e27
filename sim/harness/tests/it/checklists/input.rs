//! Wrong input: 64, the flag, and what would be right; no password comes back.

use std::process::Command;

fn check(args: &[&str], expect: &[&str]) {
    for command in ["verify", "audit"] {
        let output = Command::new(env!("CARGO_BIN_EXE_syncstorm")).arg(command).args(args).output().expect("it starts");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{command} {args:?}: {told}");
        for words in expect {
            assert!(told.contains(words), "{command} {args:?} does not say `{words}`:\n{told}");
        }
        assert!(output.stdout.is_empty() && !told.contains("hush"), "{command} {args:?}: {told}");
    }
}

#[test]
fn flags() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = folder.path().join("text");
    std::fs::write(&text, "nothing").expect("a file can be written");
    let (folder, text) = (folder.path().display().to_string(), text.display().to_string());
    let backend = ["--backend-url", "http://127.0.0.1:1"];
    let with = |further: &[&'static str]| -> Vec<&'static str> { backend.iter().chain(further).copied().collect() };
    let table: Vec<(Vec<&str>, &[&str])> = vec![
        (vec![], &["--deployment DIR", "--mongodb-url"]),
        (vec!["--powersync-url", "localhost:8080"], &["--powersync-url", "http://127.0.0.1:8080"]),
        (vec!["--backend-url", "ftp://host"], &["--backend-url", "http://127.0.0.1:3000"]),
        (vec!["--backend-url", "http://me:hush@host"], &["--backend-url", "scheme, host and port"]),
        (vec!["--postgres-url", "mysql://u:hush@h/d"], &["--postgres-url", "sslmode=require"]),
        (
            vec!["--postgres-url", "postgres://u:hush@h/d?sslmode=always"],
            &["--postgres-url", "sslmode=always", "verify-full"],
        ),
        (
            vec!["--postgres-url", "postgres://u:hush@h/d?sslmode=verify-ca&sslrootcert=/no.crt"],
            &["--postgres-url", "/no.crt"],
        ),
        (vec!["--redis-url", "rediss://:hush@h:x"], &["--redis-url", "redis://:password@host:6379", "rediss://"]),
        (vec!["--redis-url", "h:6379"], &["--redis-url", "redis://"]),
        (vec!["--mongodb-url", "mongodb+srv://u:hush@h"], &["--mongodb-url", "mongodb://user:password@host:27017"]),
        (vec!["--mongodb-url", "h"], &["--mongodb-url", "mongodb://"]),
        (with(&["--origin", "localhost:5173"]), &["--origin", "http://localhost:5173"]),
        (with(&["--origin", "*"]), &["--origin", "scheme and host"]),
        (with(&["--token-secret", ""]), &["--token-secret", "empty"]),
        (
            with(&["--token-secret", "hush", "--token-command", "true"]),
            &["--token-secret", "--token-command", "one of them"],
        ),
        (with(&["--token-key", "/nowhere/key"]), &["--token-key /nowhere/key"]),
        (with(&["--token-command", "exit 3"]), &["--token-command", "failed"]),
        (with(&["--token-command", "echo x"]), &["--token-command", "not a JWT"]),
        (
            with(&["--token-command", "sleep 100", "--patience-seconds", "1"]),
            &["--token-command", "--patience-seconds"],
        ),
        (with(&["--patience-seconds", "0"]), &["--patience-seconds", "1..=300"]),
        (with(&["--app", "/nowhere"]), &["--app /nowhere"]),
        (vec!["--deployment", "/nowhere"], &["--deployment /nowhere", "syncstorm deploy init DIR"]),
    ];
    for (args, expect) in &table {
        check(args, expect);
    }
    check(&["--backend-url", "http://127.0.0.1:1", "--token-key", &text], &["--token-key", "PKCS#8"]);
    check(&["--deployment", &folder], &["--deployment", ".env"]);
}
