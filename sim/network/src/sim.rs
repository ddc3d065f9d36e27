//! The simulated network: real routers behind links with drawn delays, in virtual time.
//!
//! Each message's fate is keyed by device, purpose, subject and attempt, so that removing a step of the plan
//! leaves the fate of every other message as it was. A request, once sent, travels on even if its sender dies.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use rand::Rng as _;
use sim_core::Plan;
use sim_core::plan::{Direction, Fault, Server, self};
use crate::changes::Changes;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tower::ServiceExt;

use crate::{Answer, Ask, Doomed, Incoming, Killed, LocalFuture, NetError, Network, Next, Opened, Purpose, Sent, Target};

/// A simulated network. Clones share it.
#[derive(Clone)]
pub struct SimNetwork {
    inner: Rc<Inner>,
}

struct Inner {
    plan: Rc<Plan>,
    routers: RefCell<Routers>,
    faults: RefCell<Vec<(u32, Fault)>>,
    epochs: RefCell<Epochs>,
    changes: Changes,
    in_flight: Cell<usize>,
    mint: Box<dyn Fn(u32, bool) -> String>,
    acted: Box<dyn Fn(Option<(u32, &Ask)>)>,
    repeated: Box<dyn Fn(u32, &Ask, Option<u16>)>,
    kills: RefCell<Vec<Kill>>,
}

/// The backend's end in the middle of an upload.
struct Kill {
    key: u32,
    device: u32,
    instant: plan::KillInstant,
    is_inside: bool,
    strike: Rc<dyn Fn()>,
}

/// The two servers as they answer now; `None` while a server is down.
#[derive(Clone, Default)]
pub struct Routers {
    /// The upload backend.
    pub backend: Option<Router>,
    /// The sync service.
    pub service: Option<Router>,
}

/// How long a message takes.
#[derive(Clone, Copy)]
struct Way {
    /// On the link as it is.
    usual: Duration,
    /// What a slow network adds, as long as it is slow.
    slowed: Duration,
}

/// Connections made in an earlier epoch are dead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Epochs {
    devices: Vec<u64>,
    cuts: Vec<u64>,
    half_open: Vec<u64>,
    backend: u64,
    service: u64,
}

/// The connections that a message depends on.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Epoch {
    device: u64,
    server: u64,
}

impl SimNetwork {
    /// A network for the devices of a plan. `mint` makes a token for a device (with a wrong audience, if asked);
    /// `acted` is told right after a server has handled a request (whose, and which), or sent a part of a stream;
    /// `repeated`, how a second delivery was answered.
    #[must_use]
    pub fn new(
        plan: Rc<Plan>,
        routers: Routers,
        mint: Box<dyn Fn(u32, bool) -> String>,
        acted: Box<dyn Fn(Option<(u32, &Ask)>)>,
        repeated: Box<dyn Fn(u32, &Ask, Option<u16>)>,
    ) -> Self {
        let devices = plan.devices.len();
        let epochs = Epochs {
            devices: vec![0; devices],
            cuts: vec![0; devices],
            half_open: vec![0; devices],
            backend: 0,
            service: 0,
        };
        Self {
            inner: Rc::new(Inner {
                plan,
                routers: RefCell::new(routers),
                faults: RefCell::default(),
                epochs: RefCell::new(epochs),
                changes: Changes::default(),
                in_flight: Cell::new(0),
                mint,
                acted,
                repeated,
                kills: RefCell::default(),
            }),
        }
    }

    /// Calls `strike` at this instant of the next upload of the device that the backend would handle. `is_inside`: the
    /// way to the backend kills it itself before a commit, and `strike` is told.
    pub fn kill_in_upload(
        &self,
        key: u32,
        device: u32,
        instant: plan::KillInstant,
        is_inside: bool,
        strike: Box<dyn Fn()>,
    ) {
        self.inner.kills.borrow_mut().push(Kill { key, device, instant, is_inside, strike: strike.into() });
    }

    /// Takes such a wish back.
    pub fn forget_kill(&self, key: u32) {
        self.inner.kills.borrow_mut().retain(|kill| kill.key != key);
    }

    /// A fault begins.
    pub fn strike(&self, key: u32, fault: &Fault) {
        let inner = &self.inner;
        {
            let mut epochs = inner.epochs.borrow_mut();
            match fault {
                Fault::Offline { device, .. } => epochs.devices[*device as usize] += 1,
                Fault::StreamCut { device } => epochs.cuts[*device as usize] += 1,
                _ => {}
            }
        }
        inner.faults.borrow_mut().push((key, fault.clone()));
        inner.changed();
    }

    /// A fault ends. Connections that it silenced are reset.
    pub fn heal(&self, key: u32) {
        let inner = &self.inner;
        let healed: Vec<Fault> = {
            let mut faults = inner.faults.borrow_mut();
            let healed = faults.iter().filter(|(one, _)| *one == key).map(|(_, fault)| fault.clone()).collect();
            faults.retain(|(one, _)| *one != key);
            healed
        };
        for fault in healed {
            if let Fault::HalfOpen { device, .. } = fault {
                inner.epochs.borrow_mut().half_open[device as usize] += 1;
            }
        }
        inner.changed();
    }

    /// Ends every connection of a device, as a kill or a dead socket does.
    pub fn reset_device(&self, device: u32) {
        self.inner.epochs.borrow_mut().devices[device as usize] += 1;
        self.inner.changed();
    }

    /// Takes a server down, or brings one up; its connections are reset.
    pub fn set_router(&self, target: Target, router: Option<Router>) {
        {
            let mut routers = self.inner.routers.borrow_mut();
            let mut epochs = self.inner.epochs.borrow_mut();
            match target {
                Target::Backend => {
                    routers.backend = router;
                    epochs.backend += 1;
                }
                Target::Service => {
                    routers.service = router;
                    epochs.service += 1;
                }
            }
        }
        self.inner.changed();
    }

    /// How many requests are on their way, late duplicates included.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.inner.in_flight.get()
    }
}

impl Network for SimNetwork {
    fn ask(&self, device: u32, ask: Ask) -> LocalFuture<'static, Result<Answer, NetError>> {
        let (give, take) = oneshot::channel();
        let inner = self.inner.clone();
        let limit = ask.timeout;
        tokio::task::spawn_local(async move {
            let counted = inner.clone();
            counted.in_flight.set(counted.in_flight.get() + 1);
            let answer = match inner.clone().exchange(device, &ask).await {
                Ok(response) => inner.clone().deliver(device, &ask, response).await,
                Err(error) => Err(error),
            };
            counted.in_flight.set(counted.in_flight.get() - 1);
            // Nobody waits if the device died meanwhile.
            let _ = give.send(answer);
        });
        Box::pin(async move {
            match timeout(limit, take).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(NetError::Reset),
                Err(_) => Err(NetError::Timeout),
            }
        })
    }

    fn open(&self, device: u32, ask: Ask) -> LocalFuture<'static, Result<Opened, NetError>> {
        let inner = self.inner.clone();
        Box::pin(async move {
            let limit = ask.timeout;
            let exchange = async {
                let (response, epoch) = inner.clone().exchange(device, &ask).await?;
                let half_open = inner.epochs.borrow().half_open[device as usize];
                let cut = inner.epochs.borrow().cuts[device as usize];
                if response.status().as_u16() != 200 {
                    return inner.clone().deliver(device, &ask, (response, epoch)).await.map(Opened::Refused);
                }
                let now = Instant::now();
                Ok(Opened::Stream(Box::new(SimStream {
                    inner: inner.clone(),
                    device,
                    about: ask.about,
                    epoch,
                    half_open,
                    cut,
                    body: response.into_body(),
                    ended: false,
                    doomed: false,
                    partial: BytesMut::new(),
                    queue: VecDeque::new(),
                    lines: 0,
                    last_arrival: now,
                })))
            };
            match timeout(limit, exchange).await {
                Ok(result) => result,
                Err(_) => Err(NetError::Timeout),
            }
        })
    }

    fn token(&self, device: u32) -> String {
        let wrong = self.inner.active(|fault| matches!(fault, Fault::WrongAudience { device: of, .. } if *of == device));
        (self.inner.mint)(device, wrong)
    }
}

impl Inner {
    fn changed(&self) {
        self.changes.add();
    }

    fn active(&self, mut is: impl FnMut(&Fault) -> bool) -> bool {
        self.faults.borrow().iter().any(|(_, fault)| is(fault))
    }

    fn is_offline(&self, device: u32) -> bool {
        self.active(|fault| matches!(fault, Fault::Offline { device: of, .. } if *of == device))
    }

    fn is_swallowed(&self, device: u32, target: Target, up: bool) -> bool {
        self.active(|fault| match fault {
            Fault::Partition { device: of, from, direction, .. } => {
                *of == device
                    && reaches(*from, target)
                    && match direction {
                        Direction::Up => up,
                        Direction::Down => !up,
                        Direction::Both => true,
                    }
            }
            _ => false,
        })
    }

    fn is_paused(&self, target: Target) -> bool {
        target == Target::Service && self.active(|fault| matches!(fault, Fault::ServicePaused { .. }))
    }

    fn epoch(&self, device: u32, target: Target) -> Epoch {
        let epochs = self.epochs.borrow();
        let server = match target {
            Target::Backend => epochs.backend,
            Target::Service => epochs.service,
        };
        Epoch { device: epochs.devices[device as usize], server }
    }

    fn rng(&self, way: u64, device: u32, ask: &Ask, part: u64) -> sim_core::seed::Rng {
        let key = [way, u64::from(device), ask.purpose as u64, ask.about, u64::from(ask.attempt), part];
        self.plan.seed.fork("network", &key)
    }

    /// The way of one message, by its own generator.
    fn way(&self, rng: &mut sim_core::seed::Rng, device: u32, bytes: usize) -> Way {
        let link = self.plan.link;
        let usual_us = if link.latency_max_us > link.latency_min_us {
            rng.random_range(link.latency_min_us..=link.latency_max_us)
        } else {
            link.latency_min_us
        };
        let mut slowed_us = 0;
        for (_, fault) in self.faults.borrow().iter() {
            if let Fault::Slow { device: of, latency_us, jitter_us, bandwidth, .. } = fault
                && *of == device
            {
                slowed_us += latency_us + if *jitter_us > 0 { rng.random_range(0..=*jitter_us) } else { 0 };
                if *bandwidth > 0 {
                    slowed_us += bytes as u64 * 1_000_000 / bandwidth;
                }
            }
        }
        Way { usual: Duration::from_micros(usual_us), slowed: Duration::from_micros(slowed_us) }
    }

    fn is_slow(&self, device: u32) -> bool {
        self.active(|fault| matches!(fault, Fault::Slow { device: of, .. } if *of == device))
    }

    /// Waits until a message has arrived. What a slow network still held back comes when it is well again. `false`:
    /// it took longer than the sender waits, who closed the connection on the unsent rest.
    async fn travel(&self, device: u32, way: Way, patience: Duration) -> bool {
        sleep(way.usual).await;
        if way.slowed.is_zero() {
            return true;
        }
        let arrives = Instant::now() + way.slowed;
        let gives_up = Instant::now() + patience;
        loop {
            let seen = self.changes.count();
            if !self.is_slow(device) {
                return true;
            }
            tokio::select! {
                biased;
                () = sleep_until(arrives.min(gives_up)) => return arrives <= gives_up,
                () = self.changes.more_than(seen) => {}
            }
        }
    }

    fn lossy(&self, device: u32, target: Target) -> Option<(u8, u8, u8)> {
        self.faults.borrow().iter().find_map(|(_, fault)| match fault {
            Fault::Lossy { device: of, server, request_lost, reply_lost, duplicated, .. }
                if *of == device && reaches(*server, target) =>
            {
                Some((*request_lost, *reply_lost, *duplicated))
            }
            _ => None,
        })
    }

    /// Carries a request to its server and lets it act; gives the answer as the server sends it.
    async fn exchange(self: Rc<Self>, device: u32, ask: &Ask) -> Result<(http::Response<Body>, Epoch), NetError> {
        if self.is_offline(device) {
            return Err(NetError::Offline);
        }
        let epoch = self.epoch(device, ask.target);
        let mut rng = self.rng(0, device, ask, 0);
        let way = self.way(&mut rng, device, ask.body.as_ref().map_or(0, Bytes::len));
        let lossy = self.lossy(device, ask.target);
        let roll: u8 = rng.random_range(0..100);
        let lost = lossy.is_some_and(|(request_lost, _, _)| roll < request_lost);
        let doubled = lossy.is_some_and(|(_, _, duplicated)| rng.random_range(0..100) < duplicated);
        let again_after = Duration::from_micros(rng.random_range(1_000..3_000_000));
        let mut swallowed = lost || self.is_swallowed(device, ask.target, true);
        if !self.travel(device, way, ask.timeout).await {
            return Err(NetError::Timeout);
        }
        swallowed |= self.is_swallowed(device, ask.target, true);
        if self.epoch(device, ask.target).device != epoch.device {
            return Err(NetError::Reset);
        }
        if swallowed {
            // The sender's timeout resets the connection.
            sleep(ask.timeout).await;
            return Err(NetError::Timeout);
        }
        if self.epoch(device, ask.target).server != epoch.server {
            return Err(NetError::Reset);
        }
        self.wait_while_paused(ask.target).await;
        if doubled && ask.purpose == Purpose::Upload {
            let (inner, ask) = (self.clone(), ask.clone());
            tokio::task::spawn_local(async move {
                inner.in_flight.set(inner.in_flight.get() + 1);
                sleep(again_after).await;
                // Its answer reaches nobody: the sender took the first.
                let status = inner.act(device, &ask, None).await.ok().map(|response| response.status().as_u16());
                (inner.repeated)(device, &ask, status);
                inner.in_flight.set(inner.in_flight.get() - 1);
            });
        }
        let epoch = self.epoch(device, ask.target);
        let before = self.kill(device, ask, plan::KillInstant::BeforeCommit);
        if let Some((false, strike)) = before {
            strike();
            return Err(NetError::Reset);
        }
        let response = self.act(device, ask, before.map(|(_, strike)| strike)).await?;
        if response.status().is_success()
            && let Some((_, strike)) = self.kill(device, ask, plan::KillInstant::AfterCommit)
        {
            // The connection is of an earlier epoch from here on: no reply arrives.
            strike();
        }
        Ok((response, epoch))
    }

    /// What kills the backend at this instant of the request, if anything does, and whether from inside.
    fn kill(&self, device: u32, ask: &Ask, instant: plan::KillInstant) -> Option<(bool, Rc<dyn Fn()>)> {
        if ask.purpose != Purpose::Upload || self.routers.borrow().backend.is_none() {
            return None;
        }
        let kills = self.kills.borrow();
        let kill = kills.iter().find(|kill| kill.device == device && kill.instant == instant)?;
        Some((kill.is_inside, kill.strike.clone()))
    }

    async fn wait_while_paused(&self, target: Target) {
        while self.is_paused(target) {
            self.changes.more_than(self.changes.count()).await;
        }
    }

    /// Lets the server act. `doom` is called when it was killed meanwhile, as this request asks for.
    async fn act(
        &self,
        device: u32,
        ask: &Ask,
        doom: Option<Rc<dyn Fn()>>,
    ) -> Result<http::Response<Body>, NetError> {
        let router = {
            let routers = self.routers.borrow();
            match ask.target {
                Target::Backend => routers.backend.clone(),
                Target::Service => routers.service.clone(),
            }
        };
        let router = router.ok_or(NetError::Refused)?;
        let mut request = http::Request::builder()
            .uri(&ask.path)
            .method(if ask.body.is_some() { http::Method::POST } else { http::Method::GET })
            .extension(Sent { device, about: ask.about })
            .header(http::header::AUTHORIZATION, format!("Bearer {}", ask.token));
        if doom.is_some() {
            request = request.extension(Doomed);
        }
        if ask.body.is_some() {
            request = request.header(http::header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(ask.body.clone().map_or_else(Body::empty, Body::from))
            .expect("paths and tokens are our own and well-formed");
        let response = match router.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        (self.acted)(Some((device, ask)));
        if let Some(strike) = doom.filter(|_| response.extensions().get::<Killed>().is_some()) {
            strike();
        }
        // A way to a real server may end without an answer.
        match response.extensions().get::<NetError>() {
            Some(error) => Err(*error),
            None => Ok(response),
        }
    }

    /// Carries a whole answer back.
    async fn deliver(
        self: Rc<Self>,
        device: u32,
        ask: &Ask,
        (response, epoch): (http::Response<Body>, Epoch),
    ) -> Result<Answer, NetError> {
        let status = response.status().as_u16();
        let body = match response.into_body().collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return Err(NetError::Reset),
        };
        let mut rng = self.rng(1, device, ask, 0);
        let way = self.way(&mut rng, device, body.len());
        let roll: u8 = rng.random_range(0..100);
        let lost = self.lossy(device, ask.target).is_some_and(|(_, reply_lost, _)| roll < reply_lost);
        let mut swallowed = self.is_swallowed(device, ask.target, false);
        if !self.travel(device, way, ask.timeout).await {
            return Err(NetError::Timeout);
        }
        swallowed |= self.is_swallowed(device, ask.target, false);
        if lost || self.epoch(device, ask.target) != epoch {
            return Err(NetError::Reset);
        }
        if swallowed {
            sleep(ask.timeout).await;
            return Err(NetError::Timeout);
        }
        Ok(Answer { status, body })
    }
}

fn reaches(server: Server, target: Target) -> bool {
    match server {
        Server::Both => true,
        Server::Service => target == Target::Service,
        Server::Backend => target == Target::Backend,
    }
}

/// An open sync stream on the simulated network.
pub struct SimStream {
    inner: Rc<Inner>,
    device: u32,
    about: u64,
    epoch: Epoch,
    half_open: u64,
    cut: u64,
    body: Body,
    ended: bool,
    /// Something was swallowed: nothing after it can arrive in order, and the connection resets when the fault heals.
    doomed: bool,
    partial: BytesMut,
    queue: VecDeque<Queued>,
    lines: u64,
    last_arrival: Instant,
}

/// A line on its way.
struct Queued {
    due: Instant,
    /// When it would have arrived on a network that is not slow.
    usual: Instant,
    line: String,
}

enum Woken {
    Changed,
    Frame(Option<Bytes>),
    Due,
}

impl Incoming for SimStream {
    fn next(&mut self) -> LocalFuture<'_, Next> {
        Box::pin(self.next_line())
    }
}

impl SimStream {
    async fn next_line(&mut self) -> Next {
        loop {
            let seen = self.inner.changes.count();
            if let Some(next) = self.fate() {
                return next;
            }
            let due = self.queue.front().map(|queued| queued.due);
            let may_read = !self.ended && !self.inner.is_paused(Target::Service);
            if self.ended && self.queue.is_empty() && !self.doomed {
                return Next::End;
            }
            let woken = tokio::select! {
                biased;
                () = self.inner.changes.more_than(seen) => Woken::Changed,
                frame = self.body.frame(), if may_read => {
                    Woken::Frame(frame.and_then(Result::ok).and_then(|frame| frame.into_data().ok()))
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Woken::Due,
            };
            match woken {
                Woken::Changed => self.hasten(),
                Woken::Frame(None) => self.ended = true,
                Woken::Frame(Some(bytes)) => {
                    (self.inner.acted)(None);
                    self.receive(&bytes);
                }
                Woken::Due => {
                    if let Some(queued) = self.queue.pop_front() {
                        return Next::Line(queued.line);
                    }
                }
            }
        }
    }

    /// Whether a fault has ended the stream.
    fn fate(&mut self) -> Option<Next> {
        let inner = &self.inner;
        if inner.epoch(self.device, Target::Service) != self.epoch {
            return Some(Next::Reset);
        }
        let (half_open, cut) = {
            let epochs = inner.epochs.borrow();
            (epochs.half_open[self.device as usize], epochs.cuts[self.device as usize])
        };
        if cut != self.cut {
            // The end comes in the middle of a line: a decoder of lines drops what it holds.
            return Some(Next::Reset);
        }
        let silenced = self.is_silenced();
        if half_open != self.half_open || (self.doomed && !silenced) {
            return Some(Next::Reset);
        }
        None
    }

    /// What a slow network still held back comes when it is well again.
    fn hasten(&mut self) {
        if self.queue.is_empty() || self.inner.is_slow(self.device) {
            return;
        }
        let now = Instant::now();
        for queued in &mut self.queue {
            queued.due = queued.due.min(queued.usual.max(now));
        }
        self.last_arrival = self.queue.back().map_or(now, |queued| queued.due);
    }

    fn is_silenced(&self) -> bool {
        let device = self.device;
        self.inner.is_swallowed(device, Target::Service, false)
            || self.inner.active(|fault| {
                matches!(fault, Fault::HalfOpen { device: of, .. } | Fault::Suspend { device: of, .. } if *of == device)
            })
    }

    fn receive(&mut self, bytes: &Bytes) {
        if self.doomed || self.is_silenced() {
            self.doomed = true;
            return;
        }
        self.partial.extend_from_slice(bytes);
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line = self.partial.split_to(end + 1);
            let line = String::from_utf8_lossy(&line[..end]).into_owned();
            let key = [2, u64::from(self.device), self.about, self.lines];
            self.lines += 1;
            let mut rng = self.inner.plan.seed.fork("network", &key);
            let way = self.inner.way(&mut rng, self.device, line.len());
            let usual = Instant::now() + way.usual;
            self.last_arrival = self.last_arrival.max(usual + way.slowed);
            self.queue.push_back(Queued { due: self.last_arrival, usual, line });
        }
    }
}
