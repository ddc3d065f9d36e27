//! A mapping, read and checked.

use std::collections::BTreeMap;

use backend::PolicyKind;
use http::{HeaderMap, Method};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::real::shared_database::CommitLabels;

/// How an upload is sent, and what its answer means.
#[derive(Debug)]
pub struct Mapping {
    /// What the backend is held to.
    pub policy: Option<PolicyKind>,
    pub(super) unit: SendUnit,
    pub(super) headers: HeaderMap,
    pub(super) answer: AnswerRules,
}

#[derive(Debug)]
pub(super) enum SendUnit {
    /// Our own wire, as it is.
    AsIs(Route),
    /// One request a transaction.
    Transaction { route: Route, list: String, fields: BTreeMap<String, String> },
    /// One request an operation: for PUT, PATCH and DELETE.
    Operation(Box<[OperationRequest; 3]>),
}

/// Where a request goes.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) path: String,
    pub(super) method: Method,
}

/// A request for one operation.
#[derive(Debug)]
pub(super) struct OperationRequest {
    pub(super) route: Route,
    pub(super) body: BodyKind,
    pub(super) headers: HeaderMap,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum BodyKind {
    /// The columns that were written, and the id.
    Row,
    /// The columns that were written.
    Data,
    #[default]
    None,
}

/// What the endpoint's answers mean.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerRules {
    #[serde(default)]
    pub(super) refused: Vec<u16>,
    pub(super) code: Option<String>,
    #[serde(default)]
    pub(super) refused_codes: Vec<String>,
    pub(super) failed: Option<FailureField>,
    pub(super) conflicts: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FailureField {
    pub(super) field: String,
    pub(super) is: Json,
}

impl Mapping {
    /// How it is known whose a commit of the backend is.
    pub(in crate::external) fn commit_labels(&self) -> CommitLabels {
        match self.unit {
            SendUnit::AsIs(_) => CommitLabels::Annotations,
            SendUnit::Transaction { .. } | SendUnit::Operation(_) => CommitLabels::Uploads,
        }
    }

    /// Where our conflict records are, if the endpoint has them.
    pub(in crate::external) fn conflicts(&self) -> Option<&str> {
        self.answer.conflicts.as_deref()
    }
}
