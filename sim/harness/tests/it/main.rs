//! Syncstorm tried as its users try it: one seed gives one history, every scenario holds under the merging policy,
//! the baseline's defects are found, wrong input is told what would be right, and the tree keeps its rules.

mod checklists;
mod containers;
mod convergence;
mod deployment;
mod determinism;
mod documents;
mod embedded_backend;
mod embedded_world;
mod external;
mod findings;
mod history_mutations;
mod imports;
mod mutants;
mod nothing_judged;
mod regressions;
mod scenarios;
mod tidy;
mod wrong_input;
