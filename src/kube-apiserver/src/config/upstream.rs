//! Upstream's flags, all of them: what this server does with each, so that none is merely unknown.
//!
//! Flags that work here have a field in one of the files beside this one. The others are only known to the table: a value
//! that asks for what is done anyway is taken in silence; another one is refused if somebody would rely on it, or else
//! taken and told once.

mod table;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use component_base::flags::boolean;

pub use table::FLAGS;

use super::ConfigError;

/// One flag of upstream.
#[derive(Debug, PartialEq, Eq)]
pub struct Flag {
    /// Its name, without dashes.
    pub name: &'static str,
    /// What is done with it.
    pub support: Support,
}

/// What this server does with a flag.
#[derive(Debug, PartialEq, Eq)]
pub enum Support {
    /// What upstream does.
    Works,
    /// Nothing: it is taken, and the reason is told.
    NoEffect(Why),
    /// It is refused.
    Refused(Why),
}

/// Why a flag does not work here.
#[derive(Debug, PartialEq, Eq)]
pub struct Why {
    /// Whether it can stand alone, meaning true.
    switch: bool,
    /// Values that ask for what is done anyway.
    fits: &'static [&'static str],
    /// The reason, and what to do instead.
    why: &'static str,
}

impl Flag {
    const fn works(name: &'static str) -> Self {
        Self { name, support: Support::Works }
    }

    /// A switch that is always as it is when not `fits`.
    const fn switch_without_effect(name: &'static str, fits: &'static [&'static str], why: &'static str) -> Self {
        Self { name, support: Support::NoEffect(Why { switch: true, fits, why }) }
    }

    const fn without_effect(name: &'static str, fits: &'static [&'static str], why: &'static str) -> Self {
        Self { name, support: Support::NoEffect(Why { switch: false, fits, why }) }
    }

    const fn refused_switch(name: &'static str, fits: &'static [&'static str], why: &'static str) -> Self {
        Self { name, support: Support::Refused(Why { switch: true, fits, why }) }
    }

    const fn refused(name: &'static str, fits: &'static [&'static str], why: &'static str) -> Self {
        Self { name, support: Support::Refused(Why { switch: false, fits, why }) }
    }

    /// Why it does not work; none for one that does.
    fn why(&self) -> Option<&Why> {
        match &self.support {
            Support::Works => None,
            Support::NoEffect(why) | Support::Refused(why) => Some(why),
        }
    }
}

/// A flag that was given and has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idle {
    /// The flag, without dashes.
    pub flag: &'static str,
    /// Its value.
    pub value: String,
    /// Why it has no effect.
    pub why: &'static str,
}

/// The flags that were given and do not work here.
#[derive(Clone, Debug, Default)]
pub struct UpstreamArgs(Vec<(&'static Flag, String)>);

impl UpstreamArgs {
    /// What is to be told of those that have no effect.
    ///
    /// # Errors
    /// If one of them is refused.
    pub fn idle(self) -> Result<Vec<Idle>, ConfigError> {
        let mut idle = Vec::new();
        for (flag, value) in self.0 {
            match &flag.support {
                Support::Works => {}
                Support::NoEffect(why) => {
                    if !why.fits.contains(&value.as_str()) {
                        idle.push(Idle { flag: flag.name, value, why: why.why });
                    }
                }
                Support::Refused(why) => {
                    if !why.fits.contains(&value.as_str()) {
                        return Err(ConfigError::Refused { flag: flag.name, value, why: why.why });
                    }
                }
            }
        }
        Ok(idle)
    }
}

impl FromArgMatches for UpstreamArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Vec::new();
        for flag in FLAGS.iter().filter(|flag| flag.why().is_some()) {
            let values = matches.get_many::<String>(flag.name).unwrap_or_default();
            given.extend(values.map(|value| (flag, value.clone())));
        }
        Ok(Self(given))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for UpstreamArgs {
    fn augment_args(command: Command) -> Command {
        FLAGS.iter().fold(command, |command, flag| match flag.why() {
            Some(why) => command.arg(argument(flag.name, why)),
            None => command,
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn argument(name: &'static str, why: &Why) -> Arg {
    // Hidden: the help tells what can be used.
    let argument = Arg::new(name).long(name).action(ArgAction::Append).hide(true).help(why.why);
    if why.switch {
        let truth = |text: &str| boolean(text).map(|value| value.to_string());
        return argument.num_args(0..=1).require_equals(true).default_missing_value("true").value_parser(truth);
    }
    argument.num_args(1).value_parser(ValueParser::string())
}

#[cfg(test)]
mod tests;
