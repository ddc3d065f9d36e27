//! What the network asks its world for, and what it reports to it.

use crate::request::Request;

/// Makes a token for a device (with a wrong audience, if asked).
pub type MintToken = Box<dyn Fn(u32, bool) -> String>;
/// Takes the device and the request that a server has handled, or `None` for a part of a stream that it has sent.
pub type OnHandled = Box<dyn Fn(Option<(u32, &Request)>)>;
/// Takes the device, the request and the status of its second response.
pub type OnDuplicate = Box<dyn Fn(u32, &Request, Option<u16>)>;

/// A world's callbacks.
pub struct Callbacks {
    /// Called for each token that a device asks for.
    pub mint_token: MintToken,
    /// Called right after a server has handled a request or sent a part of a stream.
    pub on_handled: OnHandled,
    /// Called when a server has handled a request a second time. That response reaches nobody.
    pub on_duplicate: OnDuplicate,
}
