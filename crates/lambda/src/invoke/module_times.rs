//! How long the modules of an init took to load, by the packages that they belong to.
//!
//! ```text
//!   [[parent, own time, file] …] ─▶ the package of each file ─▶ own time: its modules' │ with what it loads: of its modules
//!                                                                                       whose parents are others'
//! ```
//! The figures come out of the function's own process, which may say anything: they are read strictly, and are about nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::runtimes::RUNTIME_DIR;
use crate::runtimes::{LAYERS_ROOT, TASK_ROOT};

/// Modules that an init tells of. Our bootstraps tell of so many; the rest counts as its callers' own time.
const MODULES_MAX: usize = 10_000;
/// Letters of a name that are shown.
const NAME_LENGTH_MAX: usize = 200;
/// Longer than any init: sums stay far from the end of their range.
const TIME_US_MAX: u64 = 1 << 40;

/// Where a package is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The function's own code.
    Own,
    /// A dependency in the function's package.
    Package,
    /// A layer.
    Layer,
    /// A module that the language runtime brings.
    Runtime,
    /// What this host has installed for its Python.
    Host,
}

/// What one package costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageTime {
    /// Its name, as one requires or imports it.
    pub name: String,
    /// Where it is from.
    pub origin: Origin,
    /// Modules of it that were loaded.
    pub modules: usize,
    /// Time that its own modules took.
    pub own: Duration,
    /// The same, and what they loaded in turn.
    pub cumulative: Duration,
}

/// The times of one init.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleTimes {
    /// The whole of loading the function's code.
    pub total: Duration,
    /// By package, the most expensive by itself first.
    pub packages: Vec<PackageTime>,
    /// What belongs to no module that could be timed: looking for files and, with node, ES modules.
    pub rest: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Given {
    total_us: u64,
    modules: Vec<(i64, u64, String)>,
    /// Top-level names that packages have brought, where they lie beside the function's own code.
    #[serde(default)]
    packages: BTreeSet<String>,
}

impl ModuleTimes {
    /// Reads what our bootstraps give.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(json: &[u8]) -> Result<Self, String> {
        let Given { total_us, modules, packages } = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if modules.len() > MODULES_MAX {
            return Err(format!("{} modules are more than {MODULES_MAX}", modules.len()));
        }
        if modules.iter().map(|module| module.1).chain([total_us]).any(|time| time > TIME_US_MAX) {
            return Err("a module took longer than any init may".to_owned());
        }
        let mut parents = Vec::with_capacity(modules.len());
        for (index, module) in modules.iter().enumerate() {
            match usize::try_from(module.0) {
                Ok(parent) if parent < index => parents.push(Some(parent)),
                Err(_) if module.0 == -1 => parents.push(None),
                _ => return Err("a module is loaded before the one that loads it".to_owned()),
            }
        }
        let places: Vec<_> = modules.iter().map(|module| place(&module.2, &packages)).collect();
        let known: BTreeSet<_> = places.iter().collect();
        let numbers: BTreeMap<_, _> = known.into_iter().zip(0usize..).collect();
        let packages_of: Vec<_> = places.iter().map(|place| numbers[place]).collect();
        let mut cumulative: Vec<u64> = modules.iter().map(|module| module.1).collect();
        for index in (0..modules.len()).rev() {
            if let Some(parent) = parents[index] {
                cumulative[parent] += cumulative[index];
            }
        }
        let mut found: BTreeMap<&(Origin, String), (usize, u64, u64)> = BTreeMap::new();
        for (index, place) in places.iter().enumerate() {
            let above = std::iter::successors(parents[index], |parent| parents[*parent]);
            // A package that comes back below itself has its time there already. No deeper than imports nest in a process.
            let within = above.take(MODULES_MAX).any(|parent| packages_of[parent] == packages_of[index]);
            let (count, own, all) = found.entry(place).or_default();
            *count += 1;
            *own += modules[index].1;
            *all += if within { 0 } else { cumulative[index] };
        }
        let timed: u64 = modules.iter().map(|module| module.1).sum();
        let mut packages: Vec<_> = found
            .into_iter()
            .map(|((origin, name), (modules, own, all))| PackageTime {
                name: name.clone(),
                origin: *origin,
                modules,
                own: Duration::from_micros(own),
                cumulative: Duration::from_micros(all),
            })
            .collect();
        packages.sort_by(|a, b| (b.own, &a.name).cmp(&(a.own, &b.name)));
        let rest = Duration::from_micros(total_us.saturating_sub(timed));
        Ok(Self { total: Duration::from_micros(total_us), packages, rest })
    }
}

/// The package of a file or of a module that is in none.
fn place(file: &str, packages: &BTreeSet<String>) -> (Origin, String) {
    let below = |folder: &str| file.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
    let origin = |otherwise| match () {
        () if below(TASK_ROOT).is_some() => Origin::Package,
        () if below(LAYERS_ROOT).is_some() => Origin::Layer,
        () => otherwise,
    };
    if let Some((_, rest)) = file.rsplit_once("/node_modules/") {
        return (origin(Origin::Host), shown(&node_package(rest)));
    }
    for folder in ["/site-packages/", "/dist-packages/"] {
        if let Some((_, rest)) = file.rsplit_once(folder) {
            return (origin(Origin::Host), shown(top(rest)));
        }
    }
    if let Some(rest) = below(TASK_ROOT) {
        return match top(rest) {
            name if packages.contains(name) => (Origin::Package, shown(name)),
            _ => (Origin::Own, "(own code)".to_owned()),
        };
    }
    if let Some(rest) = below(LAYERS_ROOT) {
        return (Origin::Layer, shown(top(rest.strip_prefix("python/").unwrap_or(rest))));
    }
    if below(RUNTIME_DIR).is_some() {
        return (Origin::Runtime, "(bootstrap)".to_owned());
    }
    // Python's own: /usr/lib/python3.11/json/__init__.py
    match file.split_once("/python3.").and_then(|(_, rest)| rest.split_once('/')) {
        Some((_, rest)) => (Origin::Runtime, shown(top(rest.strip_prefix("lib-dynload/").unwrap_or(rest)))),
        None => (Origin::Runtime, shown(file)),
    }
}

/// `name` or `@scope/name`.
fn node_package(rest: &str) -> String {
    let mut parts = rest.split('/');
    match (parts.next().unwrap_or_default(), parts.next()) {
        (scope, Some(name)) if scope.starts_with('@') => format!("{scope}/{name}"),
        (name, _) => name.to_owned(),
    }
}

/// The first part of a path, without what makes it a file's name.
fn top(rest: &str) -> &str {
    let first = rest.split('/').next().unwrap_or_default();
    first.split('.').next().unwrap_or_default()
}

/// A name that steers no terminal and fits a line.
pub(super) fn shown(name: &str) -> String {
    // Those that turn the direction of what follows have no width of their own.
    let turns = |letter: char| matches!(letter, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    let letters = name.chars().filter(|letter| !letter.is_control() && !turns(*letter)).take(NAME_LENGTH_MAX);
    let name: String = letters.collect();
    if name.is_empty() { "(unnamed)".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(times: &ModuleTimes, name: &str) -> (Origin, usize, u128, u128) {
        let package = times.packages.iter().find(|package| package.name == name);
        let package = package.unwrap_or_else(|| panic!("{name} in {times:?}"));
        (package.origin, package.modules, package.own.as_micros(), package.cumulative.as_micros())
    }

    #[test]
    fn modules_are_summed_by_package_and_what_a_package_loads_counts_once() {
        let times = ModuleTimes::read(
            br#"{"totalUs": 1000, "modules": [
                [-1, 10, "/var/task/index.js"],
                [0, 100, "/var/task/node_modules/@aws-sdk/client-s3/dist-cjs/index.js"],
                [1, 200, "/var/task/node_modules/@aws-sdk/client-s3/node_modules/tslib/tslib.js"],
                [2, 5, "node:crypto"],
                [1, 40, "/var/task/node_modules/uuid/index.js"],
                [4, 20, "/var/task/node_modules/@aws-sdk/client-s3/late.js"],
                [0, 3, "/opt/nodejs/node_modules/lodash/lodash.js"],
                [-1, 2, "/var/task/lib/other.js"]
            ]}"#,
        )
        .unwrap();
        assert_eq!(row(&times, "(own code)"), (Origin::Own, 2, 12, 380));
        assert_eq!(row(&times, "@aws-sdk/client-s3"), (Origin::Package, 2, 120, 365));
        assert_eq!(row(&times, "tslib"), (Origin::Package, 1, 200, 205));
        assert_eq!(row(&times, "uuid"), (Origin::Package, 1, 40, 60));
        assert_eq!(row(&times, "lodash"), (Origin::Layer, 1, 3, 3));
        assert_eq!(row(&times, "node:crypto"), (Origin::Runtime, 1, 5, 5));
        assert_eq!(times.packages[0].name, "tslib", "the most expensive first");
        assert_eq!((times.total.as_micros(), times.rest.as_micros()), (1000, 620));
    }

    #[test]
    fn a_python_package_beside_the_own_code_is_known_by_what_was_installed() {
        let times = ModuleTimes::read(
            br#"{"totalUs": 50, "packages": ["boto3"], "modules": [
                [-1, 1, "/var/task/index.py"], [0, 2, "/var/task/boto3/__init__.py"], [0, 3, "/var/task/shop/cart.py"],
                [1, 4, "/usr/lib/python3.11/json/__init__.py"], [1, 5, "/usr/lib/python3.11/lib-dynload/_ssl.cpython-311.so"],
                [1, 6, "/usr/lib/python3/dist-packages/urllib3/x.py"], [1, 7, "/opt/python/yaml/__init__.py"],
                [1, 8, "/opt/python/lib/python3.11/site-packages/rich/a.py"], [1, 9, "/root/.pyenv/versions/3.11.7/lib/python3.11/re/_c.py"]
            ]}"#,
        )
        .unwrap();
        let origins: BTreeMap<_, _> = times.packages.iter().map(|one| (one.name.as_str(), one.origin)).collect();
        let expected = [
            ("(own code)", Origin::Own),
            ("_ssl", Origin::Runtime),
            ("boto3", Origin::Package),
            ("json", Origin::Runtime),
            ("re", Origin::Runtime),
            ("rich", Origin::Layer),
            ("urllib3", Origin::Host),
            ("yaml", Origin::Layer),
        ];
        assert_eq!(origins, expected.into());
    }

    #[test]
    fn what_a_function_makes_up_is_refused_or_shown_harmlessly() {
        for bad in [
            "".to_owned(),
            "[]".to_owned(),
            r#"{"totalUs": -1, "modules": []}"#.to_owned(),
            r#"{"totalUs": 1, "modules": [[0, 1, "a"]]}"#.to_owned(),
            r#"{"totalUs": 1, "modules": [[-2, 1, "a"]]}"#.to_owned(),
            r#"{"totalUs": 1, "modules": [[-1, 1, "a"], [2, 1, "b"], [1, 1, "c"]]}"#.to_owned(),
            format!(r#"{{"totalUs": 1, "modules": [[-1, {}, "a"]]}}"#, u64::MAX),
            format!(r#"{{"totalUs": 1, "modules": [{}[-1, 1, "a"]]}}"#, r#"[-1, 1, "a"],"#.repeat(MODULES_MAX)),
        ] {
            assert!(ModuleTimes::read(bad.as_bytes()).is_err(), "{bad:.60}");
        }
        let long = "x".repeat(5_000);
        let json = format!(
            r#"{{"totalUs": 1, "modules": [[-1, 1, "/var/task/node_modules/\u001b]0;evil\u0007/x"], [-1, 1, "{long}"], [-1, 1, ""]]}}"#
        );
        let times = ModuleTimes::read(json.as_bytes()).unwrap();
        assert!(times.packages.iter().all(|one| !one.name.contains(char::is_control) && one.name.len() <= 200));
        assert_eq!(times.packages.len(), 3);
        assert_eq!(shown("a\u{202e}b\u{2066}c\u{1b}d\n"), "abcd");
    }

    #[test]
    fn a_deep_chain_of_modules_is_summed_without_a_stack_of_its_own() {
        let modules: Vec<_> = (0..MODULES_MAX)
            .map(|n| format!(r#"[{}, 1, "/var/task/node_modules/p{}/x.js"]"#, n as i64 - 1, n % 2))
            .collect();
        let json = format!(r#"{{"totalUs": 9, "modules": [{}]}}"#, modules.join(","));
        let times = ModuleTimes::read(json.as_bytes()).unwrap();
        assert_eq!(row(&times, "p0"), (Origin::Package, 5_000, 5_000, 10_000));
        assert_eq!(row(&times, "p1").3, 9_999);
    }
}
