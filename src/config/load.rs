//! Where settings come from: layers over `config/default.toml`, and their unknown keys.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

use figment::{
    Figment, Metadata, Provider,
    providers::{Format, Toml},
    value::{Dict, Map, Value},
};

use super::{Config, ConfigErrors, Problem, env::environment, validate};

const DEFAULT: &str = include_str!("../../config/default.toml");
const PROFILES: [(&str, &str); 2] = [
    ("embedded", include_str!("../../config/embedded.toml")),
    ("production", include_str!("../../config/production.toml")),
];
/// Keys whose values are never shown.
pub(super) const SECRETS: [&str; 9] = [
    "postgres.password",
    "scylla.password",
    "redis.password",
    // May hold credentials.
    "nats.url",
    "auth.jwt_secret",
    "auth.jwt_previous_secret",
    "auth.review_code",
    "sms.api_key",
    // Some services want their key in the address.
    "sms.url",
];
pub(super) const PROFILE_NAME: &str = "TIMINGLE_PROFILE";

/// What lies over the defaults. No global: tests load from sources of their own.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A file of settings that wins over the profile's, in TOML.
    pub file: Option<PathBuf>,
    /// Environment variables; those that are not timingle's are ignored.
    pub env: Vec<(String, String)>,
}

impl Sources {
    /// The process's environment, and `file`.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let text = |text: OsString| text.to_string_lossy().into_owned();
        Self {
            file,
            env: std::env::vars_os()
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
        }
    }

    pub(super) fn var(&self, name: &str) -> Option<&str> {
        self.env
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }
}

/// One set of values and what to call it in a message.
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<figment::Profile, Dict>, figment::Error> {
        Ok(figment::Profile::Default.collect(self.values.clone()))
    }
}

/// The layers, merged, and the problems met on the way.
struct Merged {
    figment: Figment,
    known: BTreeMap<String, Value>,
    problems: Vec<Problem>,
}

impl Config {
    /// Reads every source and checks the result.
    ///
    /// # Errors
    /// Every problem there is, in one value.
    pub fn load(sources: &Sources) -> Result<Self, ConfigErrors> {
        let merged = merge(sources)?;
        let (config, mut problems) = extract(&merged);
        problems.splice(0..0, merged.problems);
        if let Some(config) = &config {
            problems.extend(validate::problems(config));
        }
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigErrors(problems)),
        }
    }
}

/// The values that `sources` come to, as TOML: secrets masked, and beside each value
/// that is not the default's a note where it came from.
///
/// # Errors
/// As [`Config::load`].
pub fn effective(sources: &Sources) -> Result<String, ConfigErrors> {
    Config::load(sources)?;
    let merged = merge(sources)?;
    let mut sections = BTreeMap::<&str, Vec<String>>::new();
    for (key, default) in &merged.known {
        let value = merged.figment.find_value(key).unwrap_or_else(|_| default.clone());
        let note = match merged.figment.find_metadata(key) {
            Some(metadata) if value != *default => format!("  # {}", metadata.name),
            _ => String::new(),
        };
        // A secret that is set, and an address only if it holds credentials.
        let hides = value.as_str().is_none_or(|text| match key.as_str() {
            "nats.url" => text.contains('@'),
            _ => !text.is_empty(),
        });
        let shown = if SECRETS.contains(&key.as_str()) && hides {
            "\"***\"".to_owned()
        } else {
            toml_text(&value)
        };
        let (section, name) = key.split_once('.').unwrap_or(("", key));
        sections
            .entry(section)
            .or_default()
            .push(format!("{name} = {shown}{note}"));
    }
    // Keys without a section sort first, as TOML wants them.
    let tables: Vec<String> = sections
        .into_iter()
        .map(|(section, lines)| match section {
            "" => lines.join("\n"),
            section => format!("[{section}]\n{}", lines.join("\n")),
        })
        .collect();
    Ok(tables.join("\n\n") + "\n")
}

fn merge(sources: &Sources) -> Result<Merged, ConfigErrors> {
    let defaults = parse(DEFAULT, "config/default.toml")?;
    let known = leaves(&defaults);
    let mut problems = Vec::new();
    let mut layers = vec![Layer {
        name: "default".into(),
        values: defaults,
    }];

    let file = match &sources.file {
        None => None,
        Some(path) => {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|error| ConfigErrors::of(&name, format!("cannot be read: {error}")))?;
            Some(Layer {
                values: parse(&text, &name)?,
                name,
            })
        }
    };
    let chosen = sources
        .var(PROFILE_NAME)
        .or_else(|| sources.var("TIMINGLE__PROFILE"))
        .or_else(|| file.as_ref()?.values.get("profile")?.as_str())
        .unwrap_or("embedded");
    match PROFILES.iter().find(|(name, _)| *name == chosen) {
        Some((name, text)) => {
            let name = format!("config/{name}.toml");
            let values = parse(text, &name)?;
            layers.push(Layer { name, values });
        }
        None => problems.push(Problem::new(
            PROFILE_NAME,
            format!("`{chosen}` is no profile; there are `embedded` and `production`"),
        )),
    }
    layers.extend(file);
    for layer in &layers {
        for key in leaves(&layer.values)
            .keys()
            .filter(|key| !known.contains_key(*key))
        {
            problems.push(Problem::new(
                &layer.name,
                format!("unknown key `{key}`{}", nearest(key, &known)),
            ));
        }
    }
    layers.extend(environment(sources, &known, &mut problems));

    let figment = layers.into_iter().fold(Figment::new(), Figment::merge);
    Ok(Merged {
        figment,
        known,
        problems,
    })
}

/// Extracts the configuration. Each value that does not fit is noted, then replaced by
/// its default, until the rest fits: so every problem is found in one go.
fn extract(merged: &Merged) -> (Option<Config>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut figment = merged.figment.clone();
    for _ in 0..=merged.known.len() {
        let error = match figment.extract::<Config>() {
            Ok(config) => return (Some(config), problems),
            Err(error) => error,
        };
        // An unknown key has been named already, with the nearest known one; take it as absent.
        if let figment::error::Kind::UnknownField(..) = error.kind {
            figment = known_only(&figment, &merged.known);
            continue;
        }
        // An element of a list is named by its place: the key is what stands before it.
        let path = error.path.join(".");
        let key = merged
            .known
            .keys()
            .find(|key| path == **key || path.starts_with(&format!("{key}.")))
            .cloned()
            .unwrap_or(path);
        let text = if SECRETS.contains(&key.as_str()) {
            "is not a text".to_owned()
        } else {
            error.kind.to_string()
        };
        let from = figment
            .find_metadata(&key)
            .map_or_else(|| "default".to_owned(), |metadata| metadata.name.to_string());
        problems.push(Problem::new(&format!("{key} (from {from})"), text));
        let Some(default) = merged.known.get(&key) else {
            return (None, problems);
        };
        figment = figment.merge(Layer {
            name: "default".into(),
            values: nest(&key, default.clone()),
        });
    }
    (None, problems)
}

fn known_only(figment: &Figment, known: &BTreeMap<String, Value>) -> Figment {
    known.keys().fold(Figment::new(), |rest, key| {
        let (Ok(value), Some(metadata)) = (figment.find_value(key), figment.find_metadata(key)) else {
            return rest;
        };
        rest.merge(Layer {
            name: metadata.name.to_string(),
            values: nest(key, value),
        })
    })
}

fn parse(text: &str, name: &str) -> Result<Dict, ConfigErrors> {
    Toml::from_str::<Dict>(text)
        .map_err(|error| ConfigErrors::of(name, format!("is not TOML: {}", error.message())))
}

/// Every value that is not a table, by its path (`server.port`).
fn leaves(dict: &Dict) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for (key, value) in dict {
        match value {
            Value::Dict(_, inner) => {
                for (path, value) in leaves(inner) {
                    found.insert(format!("{key}.{path}"), value);
                }
            }
            value => {
                found.insert(key.clone(), value.clone());
            }
        }
    }
    found
}

pub(super) fn nest(key: &str, value: Value) -> Dict {
    match key.split_once('.') {
        Some((section, rest)) => Dict::from([(section.to_owned(), Value::from(nest(rest, value)))]),
        None => Dict::from([(key.to_owned(), value)]),
    }
}

pub(super) fn nearest(key: &str, known: &BTreeMap<String, Value>) -> String {
    let name = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    known
        .keys()
        .map(|candidate| {
            // The right name in the wrong section is the likeliest slip of all.
            let apart = if name(candidate) == name(key) {
                0
            } else {
                strsim::osa_distance(candidate, key)
            };
            (apart, candidate)
        })
        .min()
        .filter(|(apart, candidate)| *apart <= candidate.len() / 2)
        .map_or_else(String::new, |(_, candidate)| {
            format!("; did you mean `{candidate}`?")
        })
}

fn toml_text(value: &Value) -> String {
    match value {
        Value::Array(_, items) => {
            let items: Vec<_> = items.iter().map(toml_text).collect();
            format!("[{}]", items.join(", "))
        }
        // A JSON string is a TOML basic string but for DEL, which only TOML escapes.
        Value::String(_, text) => serde_json::Value::from(text.as_str())
            .to_string()
            .replace('\u{7f}', "\\u007F"),
        value => serde_json::to_string(value).unwrap_or_default(),
    }
}
