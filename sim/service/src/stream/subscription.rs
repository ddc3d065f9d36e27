//! Which buckets a request gets, by its streams, its parameters and the parameter indexes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::protocol::line::Reason;
use crate::protocol::request::StreamRequest;
use crate::storage::Generation;
use crate::sync_config::SyncConfig;
use crate::sync_config::expression::{Input, RequestValues};
use crate::sync_config::query::{ParameterQuery, combinations};

/// The greatest number of buckets, and of parameter results, of one stream.
pub(super) const BUCKETS_MAX: usize = 1000;

/// A bucket that the client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResolvedBucket {
    pub(super) name: Arc<str>,
    pub(super) priority: u8,
    pub(super) reasons: Vec<Reason>,
}

/// More buckets or parameter results than a stream may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooManyBuckets;

/// What a request is subscribed to, and why.
#[derive(Debug)]
pub(super) struct Subscriptions {
    /// Index of a stream of the configuration, in the order of the checkpoint line's `streams`.
    pub(super) streams: Vec<usize>,
    definitions: Vec<SubscribedDefinition>,
    /// Whether a parameter query has FROM, so that the buckets may change.
    pub(super) dynamic: bool,
}

/// A definition that the request is subscribed to.
#[derive(Debug)]
struct SubscribedDefinition {
    definition: usize,
    reason: Reason,
    priority: Option<u8>,
    values: Arc<RequestValues>,
}

impl Subscriptions {
    pub(super) fn new(config: &SyncConfig, request: &StreamRequest, values: &RequestValues) -> Self {
        let mut streams = Vec::new();
        let mut definitions = Vec::new();
        let defaults = Arc::new(values.clone());
        for (stream, known) in config.streams.iter().enumerate() {
            let mut reasons: Vec<(Reason, Option<u8>, Arc<RequestValues>)> = Vec::new();
            if known.default && request.include_defaults {
                reasons.push((Reason::Default(streams.len()), None, defaults.clone()));
            }
            for (index, wanted) in request.subscriptions.iter().enumerate() {
                if known.by_name && wanted.stream == known.name {
                    let values = RequestValues { subscription: wanted.parameters.clone(), ..values.clone() };
                    reasons.push((Reason::Subscription(index), wanted.override_priority, Arc::new(values)));
                }
            }
            if reasons.is_empty() {
                continue;
            }
            streams.push(stream);
            for (definition, _) in config.definitions.iter().enumerate().filter(|(_, one)| one.stream == stream) {
                for (reason, priority, values) in &reasons {
                    let values = values.clone();
                    definitions.push(SubscribedDefinition { definition, reason: *reason, priority: *priority, values });
                }
            }
        }
        let dynamic = definitions.iter().any(|subscribed| {
            let queries = &config.definitions[subscribed.definition].parameters;
            queries.iter().any(|query| matches!(query, ParameterQuery::Lookup(_)))
        });
        Self { streams, definitions, dynamic }
    }

    /// The buckets at this moment, in the order of the configuration. A bucket with several reasons has the
    /// smallest of its priorities.
    pub(super) fn resolve(&self, generation: &Generation) -> Result<Vec<ResolvedBucket>, TooManyBuckets> {
        let config = &generation.config;
        let mut found = Found::default();
        for subscribed in &self.definitions {
            let definition = &config.definitions[subscribed.definition];
            for (index, query) in definition.parameters.iter().enumerate() {
                let own = |priority: Option<u8>| subscribed.priority.or(priority).unwrap_or(definition.priority);
                match query {
                    ParameterQuery::Static { request_filters, outputs, priority } => {
                        let input = Input::Request(&subscribed.values);
                        if request_filters.iter().all(|filter| filter.holds(input)) {
                            for values in combinations(outputs.iter().map(|output| output.values(input))) {
                                let name = config.bucket_name(generation.number, subscribed.definition, values.iter());
                                found.add(name, own(*priority), subscribed.reason)?;
                            }
                        }
                    }
                    ParameterQuery::Lookup(lookup) => {
                        let entries = generation.lookups.get(&(subscribed.definition, index));
                        for key in lookup.request_keys(&subscribed.values) {
                            let rows = entries.and_then(|lookup| lookup.entries.get(&key));
                            for stored in rows.into_iter().flat_map(BTreeMap::values) {
                                for values in lookup.outputs(stored, &subscribed.values) {
                                    let name =
                                        config.bucket_name(generation.number, subscribed.definition, values.iter());
                                    found.add(name, own(lookup.priority), subscribed.reason)?;
                                }
                            }
                        }
                    }
                }
            }
        }
        Ok(found.buckets)
    }
}

#[derive(Default)]
struct Found {
    buckets: Vec<ResolvedBucket>,
    by_name: BTreeMap<Arc<str>, usize>,
    results: usize,
}

impl Found {
    fn add(&mut self, name: String, priority: u8, reason: Reason) -> Result<(), TooManyBuckets> {
        self.results += 1;
        if let Some(index) = self.by_name.get(name.as_str()) {
            let bucket = &mut self.buckets[*index];
            bucket.priority = bucket.priority.min(priority);
            if !bucket.reasons.contains(&reason) {
                bucket.reasons.push(reason);
            }
        } else {
            let name: Arc<str> = Arc::from(name);
            self.by_name.insert(name.clone(), self.buckets.len());
            self.buckets.push(ResolvedBucket { name, priority, reasons: vec![reason] });
        }
        if self.results > BUCKETS_MAX { Err(TooManyBuckets) } else { Ok(()) }
    }
}
