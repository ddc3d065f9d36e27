//! The client's side of SCRAM-SHA-256 (RFC 7677), for trying passwords. The server's own proof is not looked at: nothing
//! is told to it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

/// What is at most done for a server that wants many rounds.
const ROUNDS_MAX: u32 = 1_000_000;

/// One attempt.
pub(super) struct Scram {
    password: String,
    nonce: String,
    bare: String,
}

fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length is taken");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

fn xor(one: &mut [u8; 32], other: &[u8; 32]) {
    for (byte, with) in one.iter_mut().zip(other) {
        *byte ^= with;
    }
}

impl Scram {
    pub(super) fn new(user: &str, password: &str, nonce: &str) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self { password: password.to_owned(), nonce: nonce.to_owned(), bare: format!("n={user},r={nonce}") }
    }

    /// The client's first message.
    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// The client's final message; `None` when the challenge is malformed.
    pub(super) fn answer(&self, challenge: &str) -> Option<String> {
        let part = |name: &str| challenge.split(',').find_map(|part| part.strip_prefix(name));
        let (nonce, salt, rounds) = (part("r=")?, STANDARD.decode(part("s=")?).ok()?, part("i=")?.parse::<u32>().ok()?);
        if !nonce.starts_with(&self.nonce) || !(1..=ROUNDS_MAX).contains(&rounds) {
            return None;
        }
        let mut round = mac(self.password.as_bytes(), &[salt.as_slice(), &1u32.to_be_bytes()].concat());
        let mut salted = round;
        for _ in 1..rounds {
            round = mac(self.password.as_bytes(), &round);
            xor(&mut salted, &round);
        }
        let without_proof = format!("c=biws,r={nonce}");
        let message = format!("{},{challenge},{without_proof}", self.bare);
        let mut proof = mac(&salted, b"Client Key");
        let stored: [u8; 32] = Sha256::digest(proof).into();
        xor(&mut proof, &mac(&stored, message.as_bytes()));
        Some(format!("{without_proof},p={}", STANDARD.encode(proof)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677.
    #[test]
    fn as_the_rfc_has_it() {
        let scram = Scram::new("user", "pencil", "rOprNGfwEbeRWgbNEkqO");
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let expect = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                      p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(scram.answer(challenge).as_deref(), Some(expect));
        for malformed in ["", "r=other,s=AA==,i=1", "r=rOprNGfwEbeRWgbNEkqO,s=!,i=1", "r=rOprNGfwEbeRWgbNEkqO,s=AA==,i=0"] {
            assert_eq!(scram.answer(malformed), None, "{malformed}");
        }
    }
}
