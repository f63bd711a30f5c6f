//! How a container image is run: its program, its folder, its variables. Source: Lambda developer guide, "Create a Lambda
//! function using a container image" and "Defined runtime environment variables".

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::ending::Ending;
use crate::function::ImageUse;
use crate::image::ImageRoot;
use crate::runtimes::{Family, LaunchPlan, Protocol, Resolved};

/// What logs say in the place of a runtime.
pub(super) const DESCRIPTION: &str = "container image";

/// Most bytes of the image's own variables: the rest of what a process is started with has its own bounds.
const VARIABLES_BYTES_MAX: usize = 32 << 10;

/// What runs images: themselves.
pub(super) fn resolved() -> Resolved {
    Resolved { family: Family::Provided, version: None, warning: None }
}

/// How to start an image. `ENTRYPOINT` and `CMD` are overridden each for itself.
///
/// # Errors
/// When nothing says which program to start, or there is too much to say to it.
pub(super) fn plan(used: &ImageUse, image: &ImageRoot) -> Result<LaunchPlan, Ending> {
    let or = |given: &Vec<String>, own: &Vec<String>| if given.is_empty() { own.clone() } else { given.clone() };
    let entry = or(&used.overrides.entry_point, &image.settings.entrypoint);
    let argv: Vec<String> = entry.into_iter().chain(or(&used.overrides.command, &image.settings.cmd)).collect();
    if argv.first().is_none_or(String::is_empty) {
        return Err(Ending::NoEntry("the image has neither an entry point nor a command".to_owned()));
    }
    let variables = image.settings.env.iter().filter_map(|one| one.split_once('='));
    let sound = |(name, value): &(&str, &str)| !name.is_empty() && !name.contains('\0') && !value.contains('\0');
    let environment: Vec<_> =
        variables.filter(sound).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let bytes: usize = environment.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > VARIABLES_BYTES_MAX {
        return Err(Ending::NoEntry(format!("the image's variables have more than {VARIABLES_BYTES_MAX} bytes")));
    }
    Ok(LaunchPlan {
        argv,
        mounts: Vec::new(),
        links: Vec::new(),
        environment,
        protocol: Protocol::RuntimeApi,
        generic_argv: None,
        description: DESCRIPTION.to_owned(),
    })
}

/// The folder that the program starts in.
pub(super) fn working_directory(used: &ImageUse, image: &ImageRoot) -> PathBuf {
    let folders = [&used.overrides.working_directory, &image.settings.working_dir];
    let folder = folders.into_iter().find(|folder| !folder.is_empty());
    // A relative one means one from the root, for Docker too.
    Path::new("/").join(folder.map_or("", |folder| folder.as_str()))
}

/// `/opt` of an image, when that is a folder and not a link that would lead out of it here.
pub(super) fn opt(image: &ImageRoot) -> Option<PathBuf> {
    let opt = image.root.join("opt");
    let is_folder = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_dir());
    (is_folder(&opt) && is_folder(&opt.join("extensions"))).then_some(opt)
}

/// Leaves of what managed runtimes get as a default only what an image cannot know better.
pub(super) fn change_defaults(variables: &mut BTreeMap<String, String>) {
    for name in ["LANG", "LD_LIBRARY_PATH"] {
        variables.remove(name);
    }
    // What Docker gives an image that sets none.
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    variables.insert("PATH".to_owned(), path.to_owned());
    variables.insert("LAMBDA_TASK_ROOT".to_owned(), crate::runtimes::TASK_ROOT.to_owned());
    variables.insert("LAMBDA_RUNTIME_DIR".to_owned(), crate::runtimes::RUNTIME_DIR.to_owned());
}

/// Names that the platform sets for managed runtimes and leaves to an image: base images set them for themselves.
pub(super) fn is_not_reserved(name: &str) -> bool {
    ["_HANDLER", "AWS_EXECUTION_ENV", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR"].contains(&name)
        || super::variables::is_descriptor(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::{CodeRef, ImageOverrides};
    use crate::image::Lease;
    use crate::image::Settings;

    fn image() -> ImageRoot {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let settings = Settings {
            entrypoint: texts(&["/entry"]),
            cmd: texts(&["app.handler"]),
            working_dir: "/var/task".to_owned(),
            env: texts(&["A=1", "B=x=y", "malformed", "=nameless"]),
        };
        ImageRoot { root: PathBuf::from("/nowhere"), settings, lease: Lease::default() }
    }

    fn used(entry_point: &[&str], command: &[&str], working_directory: &str) -> ImageUse {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let overrides = ImageOverrides {
            entry_point: texts(entry_point),
            command: texts(command),
            working_directory: working_directory.to_owned(),
        };
        ImageUse { manifest: CodeRef { digest: String::new(), length: 0 }, overrides }
    }

    #[test]
    fn entry_point_command_and_folder_are_overridden_each_for_itself() {
        let argv =
            |entry_point: &[&str], command: &[&str]| plan(&used(entry_point, command, ""), &image()).unwrap().argv;
        assert_eq!(argv(&[], &[]), ["/entry", "app.handler"]);
        assert_eq!(argv(&[], &["other.handler"]), ["/entry", "other.handler"]);
        assert_eq!(argv(&["/bin/x", "-v"], &[]), ["/bin/x", "-v", "app.handler"]);
        assert_eq!(working_directory(&used(&[], &[], ""), &image()), Path::new("/var/task"));
        assert_eq!(working_directory(&used(&[], &[], "/srv"), &image()), Path::new("/srv"));
        let bare = ImageRoot { settings: Settings::default(), ..image() };
        assert_eq!(working_directory(&used(&[], &[], ""), &bare), Path::new("/"));
        assert!(plan(&used(&[], &[], ""), &bare).is_err());
    }

    #[test]
    fn variables_of_an_image_are_taken_as_they_are() {
        let plan = plan(&used(&[], &[], ""), &image()).unwrap();
        let expected = [("A", "1"), ("B", "x=y")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(plan.environment, expected);
    }
}
