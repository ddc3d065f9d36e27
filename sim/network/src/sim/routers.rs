//! What handles requests to the two servers.

use std::cell::RefCell;

use axum::Router;

use crate::request::ServerRole;

/// The routers of the two servers; `None` while a server is down.
#[derive(Clone, Default)]
pub struct Routers {
    /// The upload backend.
    pub backend: Option<Router>,
    /// The sync service.
    pub service: Option<Router>,
}

/// The routers at this moment.
pub(super) struct CurrentRouters {
    routers: RefCell<Routers>,
}

impl CurrentRouters {
    pub(super) fn new(routers: Routers) -> Self {
        Self { routers: RefCell::new(routers) }
    }

    pub(super) fn get(&self, server: ServerRole) -> Option<Router> {
        let routers = self.routers.borrow();
        match server {
            ServerRole::Backend => routers.backend.clone(),
            ServerRole::Service => routers.service.clone(),
        }
    }

    pub(super) fn set(&self, server: ServerRole, router: Option<Router>) {
        let mut routers = self.routers.borrow_mut();
        match server {
            ServerRole::Backend => routers.backend = router,
            ServerRole::Service => routers.service = router,
        }
    }

    pub(super) fn is_backend_up(&self) -> bool {
        self.routers.borrow().backend.is_some()
    }
}
