//! What the command line says of worlds: what one is made of, and which flags are for one world alone. Given with
//! another they would do nothing, so they are refused there.

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use sim_stack::deploy::Storage;
use sim_stack::existing_stack::args::StackArgs;

/// What a deployment in containers is made of.
#[derive(Clone, Debug, Default, Args)]
pub struct ContainerArgs {
    /// In containers: where the sync service keeps its buckets.
    #[arg(long, value_enum, default_value = "mongodb")]
    pub storage: Storage,
    /// In containers: the locally built images of fixtures/images.toml in the place of a registry's. Without MongoDB.
    #[arg(long, env = "SYNCSTORM_STAND_INS")]
    pub stand_ins: bool,
    /// In containers: another image for a part, as in `postgres=postgres:17.2`; may be given several times. The
    /// variables SYNCSTORM_IMAGE_POSTGRES and so on do the same.
    #[arg(long = "image", value_name = "PART=NAME", value_parser = part_and_image)]
    pub images: Vec<(String, String)>,
}

/// A stack that somebody else runs, as a world.
#[derive(Clone, Default, Args)]
pub struct ExternalArgs {
    /// Where it is.
    #[command(flatten)]
    pub stack: StackArgs,
    /// Let devices write to it: rows with ids of their own, which are deleted again. Without this nothing runs.
    #[arg(long)]
    pub allow_writes: bool,
    /// How the upload endpoint is spoken to: syncstorm, baseline, supabase, or a file like those in
    /// sim/world/src/external/mappings.
    #[arg(long, value_name = "NAME|FILE", default_value = "syncstorm")]
    pub mapping: String,
}

/// The flags on the command line that are for one world, with that world.
#[derive(Clone, Debug, Default)]
pub struct WorldFlags(Vec<(String, &'static str)>);

impl WorldFlags {
    /// The flags that were given; what stands in the environment does not count.
    #[must_use]
    pub fn given(matches: &ArgMatches) -> Self {
        let containers = ContainerArgs::augment_args(clap::Command::default());
        let external = ExternalArgs::augment_args(clap::Command::default());
        let flags = [(containers, "containers"), (external, "external")].into_iter().flat_map(|(command, world)| {
            let args: Vec<clap::Arg> = command.get_arguments().cloned().collect();
            args.into_iter().map(move |arg| (arg, world))
        });
        let is_given = |arg: &clap::Arg| {
            let id = arg.get_id().as_str();
            matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine)
        };
        Self(
            flags
                .filter(|(arg, _)| is_given(arg))
                .filter_map(|(arg, world)| Some((format!("--{}", arg.get_long()?), world)))
                .collect(),
        )
    }

    /// Refuses what is for another world than this one.
    ///
    /// # Errors
    /// The first such flag, and the world that it is for.
    pub fn check(&self, world: &str) -> Result<(), String> {
        let Some((flag, other)) = self.0.iter().find(|(_, other)| *other != world) else { return Ok(()) };
        Err(format!(
            "{flag}: is for --world {other}, and this is the {world} world; add --world {other}, or leave it out"
        ))
    }
}

fn part_and_image(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((part, image)) if !part.is_empty() && !image.is_empty() => Ok((part.to_owned(), image.to_owned())),
        _ => Err("expected PART=NAME, as in postgres=postgres:17.2".to_owned()),
    }
}
