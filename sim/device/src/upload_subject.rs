//! What an upload is about, as a network request says it in one number: the transaction and the installation.

/// So many bits are the transaction.
const TX_BITS: u32 = 40;

/// The subject of an upload. Transactions count from 1 again after a loss of storage, and their requests are others all
/// the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadSubject {
    /// How often the device lost its storage, or had it replaced, before it sent this.
    pub losses: u32,
    /// The transaction.
    pub tx_id: i64,
}

impl UploadSubject {
    /// The subject as a request has it.
    #[must_use]
    pub fn encode(self) -> u64 {
        u64::try_from(self.tx_id).unwrap_or(0) | u64::from(self.losses) << TX_BITS
    }

    /// The subject of a request that is an upload.
    #[must_use]
    pub fn decode(subject: u64) -> Self {
        let tx_id = subject & ((1 << TX_BITS) - 1);
        Self { losses: u32::try_from(subject >> TX_BITS).unwrap_or(0), tx_id: i64::try_from(tx_id).unwrap_or(i64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for subject in [UploadSubject { losses: 0, tx_id: 7 }, UploadSubject { losses: 3, tx_id: (1 << TX_BITS) - 1 }] {
            assert_eq!(UploadSubject::decode(subject.encode()), subject);
        }
        assert_eq!(UploadSubject { losses: 0, tx_id: 7 }.encode(), 7);
    }
}
