//! Stands between the program and the service, or the service and its database, and slows down what passes.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

/// What a relay does to the lines of a sync stream.
#[derive(Clone, Copy, Default)]
pub(super) struct Lines {
    /// How long each waits after the one before.
    pub(super) delay: Duration,
    /// Whether rows, and the line that says that they are complete, are dropped.
    pub(super) without_rows: bool,
}

/// A relay in front of the service at a port; gives its own port.
pub(super) async fn of_streams(service: u16, lines: Lines) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("it has one").port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            // Either end may close at any time.
            tokio::spawn(async move { exchange(client, service, lines).await.ok() });
        }
    });
    port
}

/// One request a connection, in HTTP 1.0, so that an answer ends with its connection and lines are bare.
async fn exchange(client: TcpStream, service: u16, lines: Lines) -> std::io::Result<()> {
    let (read, mut answer) = client.into_split();
    let mut read = BufReader::new(read);
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if read.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let lower = line.to_ascii_lowercase();
        if let Some(number) = lower.strip_prefix("content-length:") {
            length = number.trim().parse().expect("a number");
        }
        head += &line.replace(" HTTP/1.1\r\n", " HTTP/1.0\r\n");
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    read.read_exact(&mut body).await?;
    let mut upstream = TcpStream::connect((Ipv4Addr::LOCALHOST, service)).await?;
    upstream.write_all(head.as_bytes()).await?;
    upstream.write_all(&body).await?;
    let mut upstream = BufReader::new(upstream);
    if !head.starts_with("POST /sync/stream") {
        tokio::io::copy(&mut upstream, &mut answer).await?;
        return Ok(());
    }
    let mut is_head = true;
    let mut rest = [0; 1];
    loop {
        let mut line = Vec::new();
        tokio::select! {
            biased;
            _ = read.read(&mut rest) => return Ok(()),
            length = upstream.read_until(b'\n', &mut line) => if length? == 0 {
                return Ok(());
            },
        }
        if !is_head {
            let is_of_rows = [&b"{\"data\""[..], b"{\"checkpoint_complete\""].iter().any(|head| line.starts_with(head));
            if lines.without_rows && is_of_rows {
                continue;
            }
            tokio::time::sleep(lines.delay).await;
        }
        is_head &= line != b"\r\n";
        answer.write_all(&line).await?;
    }
}

/// A relay in front of the database at a port, behind which a replication slot is confirmed so much later; gives its own
/// port. It reads what passes, so there must be no TLS.
pub(super) async fn of_confirmations(database: u16, delay: Duration) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("it has one").port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(async move { session(client, database, delay).await.ok() });
        }
    });
    port
}

async fn session(client: TcpStream, database: u16, delay: Duration) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_database, to_database) = TcpStream::connect((Ipv4Addr::LOCALHOST, database)).await?.into_split();
    let to_database = Arc::new(Mutex::new(to_database));
    tokio::spawn(async move { tokio::io::copy(&mut from_database, &mut to_client).await.ok() });
    let mut is_first = true;
    loop {
        // The first message has no type.
        let mut message = vec![0; if is_first { 4 } else { 5 }];
        from_client.read_exact(&mut message).await?;
        let length = message.last_chunk::<4>().map_or(4, |bytes| u32::from_be_bytes(*bytes)) as usize;
        let head = message.len();
        message.resize(head + length - 4, 0);
        from_client.read_exact(&mut message[head..]).await?;
        // CopyData with a standby status update.
        let is_confirmation = !is_first && message[0] == b'd' && message.get(5) == Some(&b'r');
        is_first = false;
        let to_database = to_database.clone();
        if is_confirmation {
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                to_database.lock().await.write_all(&message).await.ok()
            });
        } else {
            to_database.lock().await.write_all(&message).await?;
        }
    }
}
