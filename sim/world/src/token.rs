//! The tokens of devices: whom they are for, what signs them, how long they are good.

use std::rc::Rc;

use sim_core::Plan;
use sim_core::plan::EPOCH_US;
use sim_device::recorder::Recorder;
use sim_stack::signer::{Claims, Signer};

/// The audience of all tokens where the servers are ours.
pub(crate) const AUDIENCE: &str = "syncstorm";

/// What makes a plan's tokens.
#[derive(Clone)]
pub(crate) enum TokenIssuer {
    /// A key: each device has tokens of its own.
    SigningKey(Signer),
    /// One token for all devices.
    FixedToken(String),
}

/// Mints a token for a device, with a wrong audience if asked.
pub(crate) type TokenMinter = Box<dyn Fn(u32, bool) -> String>;

/// A signed token. Times are in seconds since 1970.
pub(crate) fn sign(signer: &Signer, subject: &str, audience: &str, iat: i64, exp: i64) -> String {
    let claims = Claims { sub: subject.to_owned(), aud: audience.to_owned(), iat, exp };
    signer.sign(&claims).expect("a key signs any claims by its own algorithm")
}

/// Mints tokens as the app's sign-in would.
pub(crate) fn token_minter(plan: Rc<Plan>, recorder: Recorder, issuer: TokenIssuer, audience: &str) -> TokenMinter {
    let audience = audience.to_owned();
    Box::new(move |device, wrong_audience| {
        let signer = match &issuer {
            TokenIssuer::SigningKey(signer) => signer,
            TokenIssuer::FixedToken(token) => return token.clone(),
        };
        let iat = (EPOCH_US + recorder.now_us()).div_euclid(1_000_000);
        let audience = if wrong_audience { "another-app" } else { &audience };
        let exp = iat + i64::from(plan.token_lifetime_s);
        sign(signer, &plan.devices[device as usize].user, audience, iat, exp)
    })
}
