//! What a virtual machine boots: a kernel of Debian's, unpacked by `tests/vm-kernel`, and an initramfs
//! made here of the machine's own programs.
//!
//! An initramfs is made once and kept beside the kernels in `target/vm`, until something that it holds
//! changes. It is not compressed: QEMU hands it over quickly, and unpacking costs an emulated machine
//! more than reading does.

use cpio::newc;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufWriter};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The first process: mounts, modules, then the loop that answers to the harness.
const INIT: &str = include_str!("init.sh");

/// Programs of every machine, beside busybox: the lab's hosts have the same, so one line means the same
/// in both.
const PROGRAMS: [&str; 6] = ["sh", "ip", "ping", "arping", "ethtool", "iperf3"];

/// Directories that are links into `/usr`, as Debian has them.
const LINKS: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// A kernel with its initramfs.
#[derive(Clone, Debug)]
pub struct Image {
    /// For QEMU's `-kernel`.
    pub kernel: PathBuf,
    /// For QEMU's `-initrd`.
    pub initramfs: PathBuf,
}

/// What goes into an [`Image`].
#[derive(Clone, Debug)]
pub struct Recipe {
    name: String,
    kernel: String,
    modules: Vec<String>,
    /// Their sources by their places.
    files: BTreeMap<PathBuf, PathBuf>,
    /// Symbolic links, what they point to by their places.
    links: BTreeMap<PathBuf, PathBuf>,
}

impl Recipe {
    /// The usual guest: Debian's cloud kernel, virtio NICs, the tools that a lab's host has.
    pub fn guest() -> Self {
        Self::new("guest", "linux-image-cloud-amd64").module("virtio_pci").module("virtio_net")
    }

    /// A machine with the kernel of the (meta) package `kernel` and the usual tools. `name` is the
    /// initramfs's in the cache.
    pub fn new(name: &str, kernel: &str) -> Self {
        let recipe = Self {
            name: name.to_owned(),
            kernel: kernel.to_owned(),
            modules: Vec::new(),
            files: BTreeMap::new(),
            links: BTreeMap::new(),
        };
        PROGRAMS.iter().fold(recipe.file(&found("busybox"), "/usr/bin/busybox"), |recipe, name| {
            recipe.program(&found(name), name)
        })
    }

    /// Loads a module at boot, after those that it needs; `line` may go on with its parameters. One
    /// that is built into the kernel is left out.
    pub fn module(mut self, line: &str) -> Self {
        self.modules.push(line.to_owned());
        self
    }

    /// A program, called `name` there, with the shared libraries that it needs.
    pub fn program(self, path: &Path, name: &str) -> Self {
        let recipe = libraries_of(path).iter().fold(self, |recipe, path| recipe.shared(path));
        recipe.file(path, &format!("/usr/bin/{name}"))
    }

    /// A shared object, at its own place, with those that it needs.
    pub fn library(self, path: &Path) -> Self {
        libraries_of(path).iter().fold(self, |recipe, path| recipe.shared(path)).shared(path)
    }

    /// A shared object under every name that it has: two copies would be loaded as two, and a driver of
    /// DPDK's registers itself once.
    fn shared(mut self, path: &Path) -> Self {
        let real = path.canonicalize().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (name, place) = (settled(path), settled(&real));
        if name != place {
            self.links.insert(name, Path::new("/").join(&place));
        }
        self.files.insert(place, real);
        self
    }

    /// Any file, at the absolute path `place` there.
    pub fn file(mut self, path: &Path, place: &str) -> Self {
        self.files.insert(settled(Path::new(place)), path.to_owned());
        self
    }

    /// The image, made anew if it is not the one that the cache has.
    pub fn image(&self) -> Image {
        let cache = cache();
        let unpacked = cache.join(&self.kernel);
        assert!(
            unpacked.join("complete").exists(),
            "no kernel in {}: run `tests/vm-kernel {}` (tests/run does)",
            unpacked.display(),
            self.kernel
        );
        let kernel = only_entry(&unpacked.join("boot"), "vmlinuz-");
        let tree = only_entry(&unpacked.join("lib/modules"), "");
        let (order, modules) = modules(&tree, &self.modules);
        let mut files = self.files.clone();
        for module in modules {
            let name = module.file_name().expect("a module's file").to_owned();
            files.insert(Path::new("modules").join(name), module);
        }
        let texts = [("init", INIT), ("modules/order", order.as_str())];

        let initramfs = cache.join(format!("{}.cpio", self.name));
        let mut links = self.links.clone();
        links.extend(LINKS.map(|link| (link.into(), Path::new("usr").join(link))));
        let key = key_of(&files, &links, &texts);
        let key_file = cache.join(format!("{}.key", self.name));
        let lock = File::create(cache.join("lock")).expect("lock of the cache");
        lock.lock().expect("our turn at the cache");
        if !initramfs.exists() || fs::read_to_string(&key_file).ok().as_deref() != Some(&key) {
            // Under another name first: a running machine keeps the file that it booted from.
            let new = cache.join(format!("{}.new", self.name));
            write(&new, &files, &links, &texts).expect("an initramfs");
            fs::rename(&new, &initramfs).expect("the initramfs in its place");
            fs::write(&key_file, key).expect("the initramfs's key");
        }
        Image { kernel, initramfs }
    }
}

/// Where kernels and initramfs are kept: `target/vm`.
fn cache() -> PathBuf {
    crate::appliance::target().join("vm")
}

/// A place below the root, with [`LINKS`] followed.
fn settled(place: &Path) -> PathBuf {
    let below = place.strip_prefix("/").expect("an absolute path");
    let linked = LINKS.iter().any(|link| below.starts_with(link));
    if linked { Path::new("usr").join(below) } else { below.to_owned() }
}

/// A program of the machine that runs the tests.
fn found(name: &str) -> PathBuf {
    let places = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let program = places.iter().map(|place| Path::new(place).join(name)).find(|path| path.exists());
    program.unwrap_or_else(|| panic!("{name} is not installed; tests/run does that"))
}

/// The shared libraries of a program or a library, its loader among them.
fn libraries_of(elf: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(elf).output().expect("ldd");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("not found"), "{}: {text}", elf.display());
    let path =
        |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    text.lines().filter_map(path).collect()
}

/// The one entry of a directory whose name begins so.
fn only_entry(dir: &Path, prefix: &str) -> PathBuf {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let begins = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    };
    let mut found: Vec<_> = entries.map(|e| e.expect("an entry").path()).filter(begins).collect();
    assert_eq!(found.len(), 1, "{}: one {prefix}*, not {found:?}", dir.display());
    found.remove(0)
}

/// The modules' files for `wanted`, and the list by which the first process loads them: a file's name
/// and parameters a line.
fn modules(tree: &Path, wanted: &[String]) -> (String, Vec<PathBuf>) {
    let dependencies = fs::read_to_string(tree.join("modules.dep")).expect("modules.dep");
    let builtin = fs::read_to_string(tree.join("modules.builtin")).expect("modules.builtin");
    let (mut order, mut files) = (String::new(), Vec::new());
    for line in wanted {
        let (name, parameters) = line.split_once(' ').unwrap_or((line, ""));
        if builtin.lines().any(|path| is_module(path, name)) {
            continue;
        }
        let entry = dependencies
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(path, _)| is_module(path, name));
        let (path, needs) = entry.unwrap_or_else(|| panic!("the kernel has no module {name}"));
        // The list names what is needed last first.
        let needs = needs.split_whitespace().rev().map(|needed| (needed, ""));
        for (path, parameters) in needs.chain([(path, parameters)]) {
            let file = tree.join(path);
            if files.contains(&file) {
                continue;
            }
            let name = path.rsplit('/').next().expect("a file's name");
            order += &format!("{name} {parameters}\n");
            files.push(file);
        }
    }
    (order, files)
}

/// Whether `path` is the file of the module `name`; dashes and underscores are the same there.
fn is_module(path: &str, name: &str) -> bool {
    let stem = path.rsplit('/').next().and_then(|file| file.strip_suffix(".ko"));
    stem.is_some_and(|stem| stem.replace('-', "_") == name.replace('-', "_"))
}

/// Changes with every file and text.
fn key_of(
    files: &BTreeMap<PathBuf, PathBuf>,
    links: &BTreeMap<PathBuf, PathBuf>,
    texts: &[(&str, &str)],
) -> String {
    let mut hasher = DefaultHasher::new();
    (links, texts).hash(&mut hasher);
    for (place, path) in files {
        let meta = fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (place, path, meta.len(), meta.mtime(), meta.mtime_nsec()).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

/// Writes the archive, directories before what they hold.
fn write(
    archive: &Path,
    files: &BTreeMap<PathBuf, PathBuf>,
    links: &BTreeMap<PathBuf, PathBuf>,
    texts: &[(&str, &str)],
) -> io::Result<()> {
    const DIRECTORY: u32 = 0o040_755;
    const PROGRAM: u32 = 0o100_755;
    const LINK: u32 = 0o120_777;
    let mut out = BufWriter::new(File::create(archive)?);
    let mut numbers = 1..;
    let mut entry = |name: &Path, mode: u32, content: &mut dyn io::Read, size: u32| {
        let name = name.to_str().expect("a path in UTF-8");
        let builder = newc::Builder::new(name).mode(mode).ino(numbers.next().expect("an inode"));
        let mut writer = builder.write(&mut out, size);
        io::copy(content, &mut writer)?;
        writer.finish().map(drop)
    };

    let places = files.keys().chain(links.keys()).map(PathBuf::as_path);
    let places = places.chain(texts.iter().map(|text| Path::new(text.0)));
    let mut directories: BTreeSet<PathBuf> =
        places.flat_map(|place| place.ancestors().skip(1).map(Path::to_owned)).collect();
    directories.extend(LINKS.iter().map(|link| Path::new("usr").join(link)));
    directories.remove(Path::new(""));
    for directory in &directories {
        entry(directory, DIRECTORY, &mut io::empty(), 0)?;
    }
    for (place, target) in links {
        let target = target.to_str().expect("a path in UTF-8");
        let size = u32::try_from(target.len()).expect("a short name");
        entry(place, LINK, &mut target.as_bytes(), size)?;
    }
    for (place, text) in texts {
        let size = u32::try_from(text.len()).expect("a short text");
        entry(Path::new(place), PROGRAM, &mut text.as_bytes(), size)?;
    }
    for (place, path) in files {
        let mut file = File::open(path)?;
        let size = u32::try_from(file.metadata()?.len()).expect("under 4 GB");
        entry(place, PROGRAM, &mut file, size)?;
    }
    newc::trailer(out).map(drop)
}
