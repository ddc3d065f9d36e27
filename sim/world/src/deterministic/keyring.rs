//! The keys that tokens are signed with, and their rotation: the newest signs, each older one is good until the
//! tokens that it signed have expired.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, EncodingKey};
use rand::RngCore as _;
use sim_core::Plan;
use sim_core::plan::EPOCH_US;
use sim_device::recorder::Recorder;
use sim_service::auth::Keys;
use sim_stack::signer::Signer;

use crate::seams::Seams;
use crate::token::{AUDIENCE, TokenIssuer, TokenMinter, token_minter};

const KEY_ID: &str = "local-dev-key";

/// All keys of a plan, the newest last.
pub(super) struct Keyring {
    plan: Rc<Plan>,
    recorder: Recorder,
    seams: Arc<dyn Seams>,
    keys: RefCell<Vec<SigningKey>>,
    made: Cell<u64>,
}

struct SigningKey {
    kid: String,
    secret: [u8; 32],
    retires_us: Option<i64>,
    mint: TokenMinter,
}

impl Keyring {
    /// The plan's first key.
    pub(super) fn new(plan: Rc<Plan>, recorder: Recorder, seams: Arc<dyn Seams>) -> Self {
        let first = SigningKey::new(&plan, &recorder, 1);
        Self { plan, recorder, seams, keys: RefCell::new(vec![first]), made: Cell::new(1) }
    }

    /// A new key signs from now on.
    pub(super) fn rotate(&self) {
        let mut keys = self.keys.borrow_mut();
        let now_us = EPOCH_US + self.recorder.now_us();
        let lifetime_us = i64::from(self.plan.token_lifetime_s) * 1_000_000;
        for key in keys.iter_mut().filter(|key| key.retires_us.is_none()) {
            key.retires_us = Some(now_us + lifetime_us);
        }
        if !self.seams.keeps_replaced_keys() {
            keys.clear();
        }
        self.made.set(self.made.get() + 1);
        keys.push(SigningKey::new(&self.plan, &self.recorder, self.made.get()));
    }

    /// What the backend judges tokens by.
    pub(super) fn backend(&self) -> backend::Auth {
        let keys = self.keys.borrow();
        let newest_first = keys.iter().rev().map(|key| backend::Key {
            kid: key.kid.clone(),
            secret: key.secret.to_vec(),
            retires_us: key.retires_us,
        });
        backend::Auth::hs256(newest_first.collect(), vec![AUDIENCE.to_owned()])
    }

    /// The key set that the service fetches.
    pub(super) fn service(&self) -> Keys {
        let mut set = Keys::default();
        for key in self.keys.borrow().iter() {
            set.add_hs256(&key.kid, &key.secret);
        }
        set
    }

    /// Mints a token as the app's sign-in would.
    pub(super) fn mint(&self, device: u32, wrong_audience: bool) -> String {
        let keys = self.keys.borrow();
        (keys.last().expect("there is always a key").mint)(device, wrong_audience)
    }
}

impl SigningKey {
    /// The plan's key of this number, from 1.
    fn new(plan: &Rc<Plan>, recorder: &Recorder, number: u64) -> Self {
        let mut secret = [0u8; 32];
        let key: &[u64] = if number == 1 { &[] } else { &[number] };
        plan.seed.fork("secret", key).fill_bytes(&mut secret);
        let kid = if number == 1 { KEY_ID.to_owned() } else { format!("{KEY_ID}-{number}") };
        let key = EncodingKey::from_secret(&secret);
        let signer = Signer { kid: Some(kid.clone()), algorithm: Algorithm::HS256, key };
        let mint = token_minter(plan.clone(), recorder.clone(), TokenIssuer::SigningKey(signer), AUDIENCE);
        Self { kid, secret, retires_us: None, mint }
    }
}
