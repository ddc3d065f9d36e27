//! What answers like a MongoDB, as far as it is asked: `hello` as it is told to, and `listDatabases` with or without a
//! password.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread::JoinHandle;

/// One field of an answer.
#[derive(Clone)]
pub(super) enum Field {
    Text(&'static str, &'static str),
    Flag(&'static str, bool),
    Number(&'static str, f64),
}

fn document(fields: &[Field]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut add = |kind: u8, name: &str, value: Vec<u8>| {
        body.push(kind);
        body.extend_from_slice(name.as_bytes());
        body.push(0);
        body.extend(value);
    };
    for field in fields {
        match field {
            Field::Text(name, text) => {
                let mut value = i32::try_from(text.len() + 1).expect("short").to_le_bytes().to_vec();
                value.extend_from_slice(text.as_bytes());
                value.push(0);
                add(2, name, value);
            }
            Field::Flag(name, flag) => add(8, name, vec![u8::from(*flag)]),
            Field::Number(name, number) => add(1, name, number.to_le_bytes().to_vec()),
        }
    }
    let mut document = i32::try_from(body.len() + 5).expect("short").to_le_bytes().to_vec();
    document.extend(body);
    document.push(0);
    document
}

/// Answers every connection until the test ends; gives `host:port`.
pub(super) fn start(hello: &[Field], wants_password: bool) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it has one").to_string();
    let mut hello = hello.to_vec();
    hello.push(Field::Number("ok", 1.0));
    let serving = std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), hello) = (stream, hello.clone()) else { return };
            std::thread::spawn(move || {
                loop {
                    let mut header = [0; 16];
                    if stream.read_exact(&mut header).is_err() {
                        return;
                    }
                    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
                    assert_eq!(word(12), 2013, "OP_MSG");
                    let mut rest = vec![0; word(0) as usize - 16];
                    stream.read_exact(&mut rest).expect("the whole message");
                    let is_hello = rest.windows(6).any(|bytes| bytes == b"hello\0");
                    let fields = match (is_hello, wants_password) {
                        (true, _) => hello.clone(),
                        (false, false) => vec![Field::Number("ok", 1.0)],
                        (false, true) => vec![Field::Number("ok", 0.0), Field::Number("code", 13.0)],
                    };
                    let document = document(&fields);
                    let mut answer = Vec::new();
                    let length = u32::try_from(21 + document.len()).expect("short");
                    for number in [length, 7, word(4), 2013, 0] {
                        answer.extend_from_slice(&number.to_le_bytes());
                    }
                    answer.push(0);
                    answer.extend(document);
                    if stream.write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, serving)
}
