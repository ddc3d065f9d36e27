//! The lines of the sync stream, as far as the host reads them: the core reads them all.

use std::borrow::Cow;

use serde::Deserialize;

/// One line.
pub(super) enum StreamLine<'a> {
    Data(Vec<DataOp<'a>>),
    Checkpoint(Checkpoint<'a>),
    CheckpointDiff(Checkpoint<'a>),
    /// A partial checkpoint is complete.
    PartialComplete {
        priority: u32,
    },
    Other,
}

/// One operation of a data line.
#[derive(Deserialize)]
pub(super) struct DataOp<'a> {
    #[serde(borrow)]
    pub(super) op: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) object_type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) object_id: Option<Cow<'a, str>>,
}

/// A checkpoint, or its difference to the last one.
#[derive(Deserialize)]
pub(super) struct Checkpoint<'a> {
    pub(super) last_op_id: Cow<'a, str>,
    #[serde(default)]
    pub(super) write_checkpoint: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) removed_buckets: Vec<serde::de::IgnoredAny>,
    /// All buckets of a checkpoint, the changed ones of a difference.
    #[serde(borrow, default, alias = "updated_buckets")]
    pub(super) buckets: Vec<NamedBucket<'a>>,
}

/// A bucket's name.
#[derive(Deserialize)]
pub(super) struct NamedBucket<'a> {
    #[serde(borrow)]
    pub(super) bucket: Cow<'a, str>,
}

#[derive(Deserialize)]
struct DataLine<'a> {
    #[serde(borrow)]
    data: DataBody<'a>,
}

#[derive(Deserialize)]
struct DataBody<'a> {
    #[serde(borrow)]
    data: Vec<DataOp<'a>>,
}

#[derive(Deserialize)]
struct CheckpointLine<'a> {
    #[serde(borrow, alias = "checkpoint_diff")]
    checkpoint: Checkpoint<'a>,
}

#[derive(Deserialize)]
struct PartialLine {
    partial_checkpoint_complete: PartialBody,
}

#[derive(Deserialize)]
struct PartialBody {
    priority: u32,
}

impl<'a> StreamLine<'a> {
    pub(super) fn parse(line: &'a str) -> Result<Self, serde_json::Error> {
        if line.starts_with("{\"data\"") {
            let line: DataLine<'a> = serde_json::from_str(line)?;
            Ok(Self::Data(line.data.data))
        } else if line.starts_with("{\"checkpoint\"") {
            let line: CheckpointLine<'a> = serde_json::from_str(line)?;
            Ok(Self::Checkpoint(line.checkpoint))
        } else if line.starts_with("{\"checkpoint_diff\"") {
            let line: CheckpointLine<'a> = serde_json::from_str(line)?;
            Ok(Self::CheckpointDiff(line.checkpoint))
        } else if line.starts_with("{\"partial") {
            let line: PartialLine = serde_json::from_str(line)?;
            Ok(Self::PartialComplete { priority: line.partial_checkpoint_complete.priority })
        } else {
            Ok(Self::Other)
        }
    }
}
