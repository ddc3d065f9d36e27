//! What answers MongoDB's driver, as far as it is asked: `hello` as it is told to, and everything else with or without a
//! password.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use mongodb::bson::{Document, doc};

/// A message, as the driver and the server exchange them.
const OP_MSG: u32 = 2013;
/// A length, two ids and the opcode.
const HEADER_BYTES: usize = 16;
/// Flags, and the kind of the one section.
const PRELUDE_BYTES: usize = 5;
/// The server's code for a command that wants authentication.
const UNAUTHORIZED: i32 = 13;

/// Answers every connection until the test ends; gives `host:port`.
pub(super) fn start(hello: &Document, wants_password: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it has one").to_string();
    let mut hello = hello.clone();
    hello.extend(doc! {
        "helloOk": true, "minWireVersion": 0, "maxWireVersion": 21, "maxBsonObjectSize": 1 << 24,
        "maxMessageSizeBytes": 48_000_000, "ok": 1.0,
    });
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), hello) = (stream, hello.clone()) else { return };
            std::thread::spawn(move || {
                loop {
                    let mut header = [0; HEADER_BYTES];
                    if stream.read_exact(&mut header).is_err() {
                        return;
                    }
                    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
                    assert_eq!(word(12), OP_MSG);
                    let mut message = vec![0; word(0) as usize - HEADER_BYTES];
                    stream.read_exact(&mut message).expect("the whole message");
                    let command = Document::from_reader(&message[PRELUDE_BYTES..]).expect("a document");
                    let answer = match command.keys().next().map(String::as_str) {
                        Some("hello" | "isMaster") => hello.clone(),
                        _ if wants_password => {
                            doc! { "ok": 0.0, "code": UNAUTHORIZED, "errmsg": "requires authentication" }
                        }
                        _ => doc! { "ok": 1.0 },
                    };
                    let document = answer.to_vec().expect("a document");
                    let length = u32::try_from(HEADER_BYTES + PRELUDE_BYTES + document.len()).expect("short");
                    let mut message = Vec::new();
                    for number in [length, 7, word(4), OP_MSG, 0] {
                        message.extend_from_slice(&number.to_le_bytes());
                    }
                    message.push(0);
                    message.extend(document);
                    if stream.write_all(&message).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}
