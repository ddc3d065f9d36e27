//! The devices of a history. A device is one installation: one whose storage is lost or replaced is another from then on.
//! Copies of one database share a client id, so that it takes more to say which of them wrote something.

use std::collections::BTreeMap;
use std::sync::Arc;

use sim_core::history::{CopyOf, DeviceName};

/// The copy on which an installation begins.
#[derive(Clone, Copy, Debug)]
pub struct RestoredCopy {
    /// Of which database.
    pub copy: CopyOf,
    /// The last transaction that was made there before.
    pub last_tx: i64,
}

/// All installations, by their names in the history.
pub(super) struct Installations {
    devices: Vec<DeviceName>,
    /// Of installations that began as copies: from whom they have transactions, and the last of these.
    inherited: BTreeMap<u32, Vec<(u32, i64)>>,
    /// Who made an operation (client, epoch, operation). Filled only once there are copies.
    op_authors: BTreeMap<(Arc<str>, u32, i64), u32>,
}

impl Installations {
    pub(super) fn new(devices: Vec<DeviceName>) -> Self {
        Self { devices, inherited: BTreeMap::new(), op_authors: BTreeMap::new() }
    }

    pub(super) fn devices(&self) -> &[DeviceName] {
        &self.devices
    }

    pub(super) fn add(&mut self, ended: u32, client_id: String, copy: Option<RestoredCopy>) -> u32 {
        let DeviceName { kind, user, .. } = self.devices[ended as usize].clone();
        let name = u32::try_from(self.devices.len()).expect("a plan has few devices");
        let copy_of = copy.map(|restored| restored.copy);
        self.devices.push(DeviceName { kind, user, client_id, after: Some(ended), copy: copy_of });
        if let Some(RestoredCopy { copy, last_tx }) = copy {
            let mut inherited = self.inherited.get(&copy.device).cloned().unwrap_or_default();
            inherited.push((copy.device, last_tx));
            self.inherited.insert(name, inherited);
        }
        name
    }

    pub(super) fn after_losses(&self, device: u32, losses: u32) -> u32 {
        (0..losses).fold(device, |name, _| {
            let next = self.devices.iter().position(|device| device.after == Some(name));
            next.and_then(|index| u32::try_from(index).ok()).unwrap_or(name)
        })
    }

    pub(super) fn tx_author(&self, device: u32, tx_id: i64) -> u32 {
        let inherited = self.inherited.get(&device).map_or(&[][..], Vec::as_slice);
        inherited.iter().find(|(_, last_tx)| tx_id <= *last_tx).map_or(device, |(author, _)| *author)
    }

    pub(super) fn committed_tx_author(&self, client_id: &str, tx_id: i64, sender: Option<u32>) -> Option<u32> {
        let sender = sender.filter(|sender| self.devices[*sender as usize].client_id == client_id);
        match self.with_client_id(client_id).as_slice() {
            [only] => Some(*only),
            several => sender.or_else(|| several.last().copied()).map(|device| self.tx_author(device, tx_id)),
        }
    }

    pub(super) fn note_op_author(&mut self, client_id: &str, epoch: u32, op_id: i64, device: u32) {
        if !self.inherited.is_empty() {
            self.op_authors.insert((Arc::from(client_id), epoch, op_id), device);
        }
    }

    pub(super) fn op_author(&self, client_id: &str, epoch: u32, op_id: i64) -> Option<u32> {
        match self.with_client_id(client_id).as_slice() {
            [] => None,
            [only] => Some(*only),
            // Operations from before there was a copy are the first's.
            [first, ..] => Some(self.op_authors.get(&(Arc::from(client_id), epoch, op_id)).copied().unwrap_or(*first)),
        }
    }

    fn with_client_id(&self, client_id: &str) -> Vec<u32> {
        let devices = (0u32..).zip(&self.devices);
        devices.filter(|(_, device)| device.client_id == client_id).map(|(index, _)| index).collect()
    }
}
