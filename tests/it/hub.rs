//! `--ckpt hf://...` against a small hub on this machine.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::support::{Bench, Run, fixture};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const WEIGHTS: &str = "model.safetensors";

/// What happens to contents on their way; those of LFS files where nothing else is said.
#[derive(Clone, Copy, Default, PartialEq)]
enum Way {
    #[default]
    Whole,
    /// The connection ends after so many bytes.
    Cut(usize),
    /// Nothing more comes after so many bytes.
    Stall(usize),
    /// One byte is another.
    Damaged,
    /// One byte of files outside LFS is another.
    SmallDamaged,
    /// The hub has no time to say what the configuration is.
    ConfigBusy,
    /// `Range` is not understood.
    WithoutRanges,
}

#[derive(Clone, Debug)]
struct Request {
    method: String,
    path: String,
    range: Option<String>,
    token: Option<String>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    way: Way,
    requests: Vec<Request>,
    closed: bool,
}

/// The hub's `/resolve/` routes for the repository `owner/tiny`.
struct Hub {
    address: String,
    state: Arc<(Mutex<State>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Hub {
    fn new(files: &[(&str, Vec<u8>)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let hub = Self {
            address: address.clone(),
            state: Arc::clone(&state),
            thread: Some(std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let (address, state) = (address.clone(), Arc::clone(&state));
                    if state.0.lock().unwrap().closed {
                        break;
                    }
                    // A client that goes away in the middle is no failure of the test.
                    std::thread::spawn(move || answer(stream?, &address, &state));
                }
            })),
        };
        for (name, bytes) in files {
            hub.put(name, bytes.clone());
        }
        hub
    }

    /// The golden model with its configuration.
    fn tiny() -> Self {
        let files = [WEIGHTS, "config.json"];
        Self::new(&files.map(|name| (name, golden(name))))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap()
    }

    fn put(&self, name: &str, bytes: Vec<u8>) {
        self.state().files.insert(name.to_owned(), bytes);
    }

    fn way(&self, way: Way) {
        self.state().way = way;
        self.state.1.notify_all();
    }

    /// How often a file outside LFS was asked for, not only asked about.
    fn reads(&self, name: &str) -> usize {
        let path = format!("/api/resolve-cache/{name}");
        let requests = &self.state().requests;
        let read = |request: &&Request| request.method == "GET" && request.path == path;
        requests.iter().filter(read).count()
    }

    /// Requests for contents of LFS files since the last call.
    fn transfers(&self) -> Vec<Request> {
        let requests = std::mem::take(&mut self.state().requests);
        let contents = |request: &Request| request.path.starts_with("/cdn/");
        requests.into_iter().filter(contents).collect()
    }

    fn close(&mut self) {
        self.state().closed = true;
        self.state.1.notify_all();
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.close();
    }
}

fn answer(
    mut stream: TcpStream,
    address: &str,
    state: &(Mutex<State>, Condvar),
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut words = first.split(' ').map(str::to_owned);
    let mut request = Request {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        range: None,
        token: None,
    };
    for line in lines {
        let line = line?;
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("range") => {
                request.range = Some(value.to_owned());
            }
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                request.token = Some(value.to_owned());
            }
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    let mut guard = state.0.lock().unwrap();
    guard.requests.push(request.clone());
    let head = request.method == "HEAD";
    let path = request.path.as_str();
    if let Some(rest) = path.strip_prefix("/former/name/") {
        let head = format!("HTTP/1.1 307 Moved\r\nLocation: /owner/tiny/{rest}");
        return write!(
            stream,
            "{head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    if let Some(name) = path.strip_prefix("/cdn/") {
        let mut bytes = guard.files[name].clone();
        let size = bytes.len();
        let start = request
            .range
            .as_deref()
            .filter(|_| guard.way != Way::WithoutRanges);
        let start = start.map(|range| {
            let start = range.strip_prefix("bytes=").unwrap();
            start.strip_suffix('-').unwrap().parse::<usize>().unwrap()
        });
        let status = match start {
            Some(start) => {
                format!(
                    "206 Part\r\nContent-Range: bytes {start}-{}/{size}",
                    size - 1
                )
            }
            None => "200 OK".to_owned(),
        };
        let start = start.unwrap_or(0);
        let end = match guard.way {
            Way::Cut(end) | Way::Stall(end) => end,
            _ => size,
        };
        if guard.way == Way::Damaged {
            bytes[size / 2] ^= 1;
        }
        let length = size - start;
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        )?;
        stream.write_all(&bytes[start..end.max(start)])?;
        while matches!(guard.way, Way::Stall(_)) && !guard.closed {
            guard = state.1.wait(guard).unwrap();
        }
        return Ok(());
    }
    let refusal = |status: &str, code: &str| {
        format!("HTTP/1.1 {status}\r\nX-Error-Code: {code}\r\nContent-Length: 0")
    };
    let of_cache = path.strip_prefix("/api/resolve-cache/");
    let resolved = path.strip_prefix("/owner/tiny/resolve/");
    let (revision, name) = resolved.and_then(|rest| rest.split_once('/')).unzip();
    let name = of_cache.or(name).unwrap_or_default();
    let reply = if path.starts_with("/gated/") {
        refusal("403 Forbidden", "GatedRepo")
    } else if path.starts_with("/private/") {
        refusal("401 Unauthorized", "RepoNotFound")
    } else if path.starts_with("/busy/") || guard.way == Way::ConfigBusy && name == "config.json" {
        refusal("503 Busy", "")
    } else if of_cache.is_none() && revision.is_none() {
        refusal("404 Not Found", "RepoNotFound")
    } else if revision.is_some_and(|revision| revision != "main" && revision != COMMIT) {
        refusal("404 Not Found", "RevisionNotFound")
    } else if let Some(bytes) = guard.files.get(name) {
        let size = bytes.len();
        let sha256 = sha256(bytes);
        let git = git_hash(bytes);
        let about = format!("X-Repo-Commit: {COMMIT}\r\nETag: \"{git}\"");
        if of_cache.is_some() {
            let reply = format!("HTTP/1.1 200 OK\r\n{about}\r\nContent-Length: {size}");
            write!(stream, "{reply}\r\nConnection: close\r\n\r\n")?;
            let mut bytes = bytes.clone();
            if guard.way == Way::SmallDamaged {
                bytes[size / 2] ^= 1;
            }
            return if head {
                Ok(())
            } else {
                stream.write_all(&bytes)
            };
        }
        if name.ends_with(".json") {
            let to = format!("Location: /api/resolve-cache/{name}");
            format!("HTTP/1.1 307 Moved\r\n{to}\r\nContent-Length: 0")
        } else {
            let linked = format!("X-Linked-Etag: \"{sha256}\"\r\nX-Linked-Size: {size}");
            // Contents come from another host, as the hub's do.
            let host = address.replace("127.0.0.1", "localhost");
            let to = format!("Location: {host}/cdn/{name}");
            format!("HTTP/1.1 302 Found\r\n{about}\r\n{linked}\r\n{to}\r\nContent-Length: 0")
        }
    } else {
        refusal("404 Not Found", "EntryNotFound")
    };
    write!(stream, "{reply}\r\nConnection: close\r\n\r\n")
}

fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// What `git hash-object` prints.
fn git_hash(bytes: &[u8]) -> String {
    let start = format!("blob {}\0", bytes.len());
    hexadecimal(&Sha1::digest([start.as_bytes(), bytes].concat()))
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(fixture("goldens/timm_vit").join(name)).unwrap()
}

impl Bench {
    /// The program, which sees this hub and keeps its files in `hf/`.
    fn with_hub(&self, hub: &Hub, args: &[&str]) -> Command {
        let mut command = self.command(args);
        for (name, _) in std::env::vars_os() {
            let upper = name.to_string_lossy().to_uppercase();
            if upper.starts_with("HF_") || upper.ends_with("_PROXY") {
                command.env_remove(name);
            }
        }
        command
            .env("HF_ENDPOINT", &hub.address)
            .env("HF_HOME", self.path("hf"));
        command
    }

    fn inspect(&self, hub: &Hub, what: &str) -> Run {
        Run::of(&mut self.with_hub(hub, &["inspect", what]))
    }

    /// Below the repository's folder in the cache.
    fn cache(&self, below: &str) -> PathBuf {
        self.path("hf/hub/models--owner--tiny").join(below)
    }

    fn snapshot(&self, name: &str) -> PathBuf {
        self.cache("snapshots").join(COMMIT).join(name)
    }

    /// Where the weights are while they arrive.
    fn partial(&self) -> PathBuf {
        let sha256 = sha256(&golden(WEIGHTS));
        self.cache("blobs").join(format!("{sha256}.incomplete"))
    }
}

/// A report without the line that says where the file is.
fn without_path(run: &Run) -> String {
    let lines = run.stdout.lines().filter(|line| !line.starts_with("file "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_repository_is_inspected_as_its_files_are() {
    let (bench, mut hub) = (Bench::empty(), Hub::tiny());
    let path = fixture("goldens/timm_vit").join(WEIGHTS);
    let expected = bench.run(&["inspect", path.to_str().unwrap()]).ok();

    let first = bench.inspect(&hub, "hf://owner/tiny").ok();
    assert_eq!(without_path(&first), without_path(&expected));
    assert!(first.stderr.contains("downloading"), "{}", first.stderr);
    for name in [WEIGHTS, "config.json"] {
        assert_eq!(std::fs::read(bench.snapshot(name)).unwrap(), golden(name));
        assert!(bench.snapshot(name).is_symlink());
    }
    let commit = std::fs::read_to_string(bench.cache("refs/main")).unwrap();
    assert_eq!(commit, COMMIT);
    assert!(!bench.partial().exists());
    assert_eq!(hub.transfers().len(), 1);

    let again = bench.inspect(&hub, "hf://owner/tiny").ok();
    assert_eq!(
        (again.stdout, again.stderr),
        (first.stdout.clone(), String::new())
    );
    assert!(hub.transfers().is_empty());

    for name in [
        "hf://owner/tiny/model.safetensors",
        "hf://owner/tiny@0123456789abcdef0123456789abcdef01234567",
        "hf://former/name",
    ] {
        let named = bench.inspect(&hub, name).ok();
        assert_eq!(without_path(&named), without_path(&expected), "{name}");
    }

    hub.close();
    let alone = bench.inspect(&hub, "hf://owner/tiny").ok();
    assert_eq!(alone.stdout, first.stdout);
    assert!(
        alone.stderr.contains("cannot be reached"),
        "{}",
        alone.stderr
    );
    bench
        .inspect(&hub, "hf://owner/other")
        .refused(&["cannot be reached", "owner/other"]);
    let offline = |what| {
        let mut command = bench.with_hub(&hub, &["inspect", what]);
        Run::of(command.env("HF_HUB_OFFLINE", "1"))
    };
    assert_eq!(offline("hf://owner/tiny").ok().stderr, "");
    offline("hf://owner/other").refused(&["hf://owner/other", "HF_HUB_OFFLINE"]);
}

#[test]
fn every_command_takes_a_repository() {
    let (bench, hub) = (Bench::new(), Hub::tiny());
    let args = ["features", "--images", "data", "--out", "f.safetensors"];
    let repository = ["--ckpt", "hf://owner/tiny"];
    Run::of(&mut bench.with_hub(&hub, &[&args[..], &repository].concat())).ok();
    assert!(bench.path("f.safetensors").is_file());
    let args = ["knn", "--json", "--data", "data"];
    let records = Run::of(&mut bench.with_hub(&hub, &[&args[..], &repository].concat()));
    assert_eq!(records.records().len(), 1);
}

#[test]
fn a_download_goes_on_where_it_stopped() {
    let (bench, hub) = (Bench::empty(), Hub::tiny());
    hub.way(Way::Cut(50_000));
    let cut = bench.inspect(&hub, "hf://owner/tiny");
    assert_eq!(cut.code, Some(2));
    let size = golden(WEIGHTS).len();
    let said = format!("stopped after 50000 of {size} bytes");
    assert!(cut.stderr.contains(&said), "{}", cut.stderr);
    assert!(cut.stderr.contains("hint: run the command again"));
    assert!(!bench.snapshot(WEIGHTS).exists());
    assert!(!bench.cache("refs/main").exists());
    let _ = hub.transfers();

    hub.way(Way::Whole);
    bench.inspect(&hub, "hf://owner/tiny").ok();
    let transfers = hub.transfers();
    assert_eq!(transfers.len(), 1);
    assert_eq!(transfers[0].range.as_deref(), Some("bytes=50000-"));
    assert_eq!(
        std::fs::read(bench.snapshot(WEIGHTS)).unwrap(),
        golden(WEIGHTS)
    );
}

/// Starts the program and returns once so many bytes of the weights are on disk.
fn started(bench: &Bench, hub: &Hub, bytes: u64) -> Child {
    let mut command = bench.with_hub(hub, &["inspect", "hf://owner/tiny"]);
    let quiet = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = quiet.spawn().unwrap();
    let arrived = || {
        bench
            .partial()
            .metadata()
            .is_ok_and(|found| found.len() >= bytes)
    };
    while !arrived() {
        assert_eq!(child.try_wait().unwrap(), None, "it ended early");
        std::thread::yield_now();
    }
    child
}

#[test]
fn a_killed_download_goes_on_where_it_stopped() {
    let (bench, hub) = (Bench::empty(), Hub::tiny());
    hub.way(Way::Stall(60_000));
    let mut child = started(&bench, &hub, 60_000);
    child.kill().unwrap();
    child.wait().unwrap();
    let _ = hub.transfers();
    hub.way(Way::Whole);
    bench.inspect(&hub, "hf://owner/tiny").ok();
    let ranges: Vec<_> = hub.transfers().into_iter().map(|r| r.range).collect();
    assert_eq!(ranges, [Some("bytes=60000-".to_owned())]);
    assert_eq!(
        std::fs::read(bench.snapshot(WEIGHTS)).unwrap(),
        golden(WEIGHTS)
    );
}

#[test]
fn two_processes_download_once() {
    let (bench, hub) = (Bench::empty(), Hub::tiny());
    hub.way(Way::Stall(10));
    let first = started(&bench, &hub, 10);
    let mut second = bench
        .with_hub(&hub, &["inspect", "hf://owner/tiny"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut waits = String::new();
    let mut stderr = BufReader::new(second.stderr.take().unwrap());
    stderr.read_line(&mut waits).unwrap();
    assert!(waits.contains("waiting for process"), "{waits}");
    // The first one's connection ends; the second goes on with what is there.
    hub.way(Way::Whole);
    let first: Run = first.wait_with_output().unwrap().into();
    assert_eq!(first.code, Some(2), "{}", first.stderr);
    let second: Run = second.wait_with_output().unwrap().into();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(second.code, Some(0), "{rest}");
    let ranges: Vec<_> = hub.transfers().into_iter().map(|r| r.range).collect();
    assert_eq!(ranges, [None, Some("bytes=10-".to_owned())]);
    assert_eq!(
        std::fs::read(bench.snapshot(WEIGHTS)).unwrap(),
        golden(WEIGHTS)
    );
}

#[test]
fn many_processes_end_with_the_same_file() {
    let (bench, hub) = (Bench::empty(), Hub::tiny());
    let start = |_| {
        let mut command = bench.with_hub(&hub, &["inspect", "hf://owner/tiny"]);
        let quiet = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        quiet.spawn().unwrap()
    };
    let children: Vec<_> = (0..4).map(start).collect();
    for child in children {
        Run::from(child.wait_with_output().unwrap()).ok();
    }
    assert_eq!(hub.transfers().len(), 1);
}

#[test]
fn contents_other_than_announced_are_refused_and_not_kept() {
    let (bench, hub) = (Bench::empty(), Hub::tiny());
    hub.way(Way::Damaged);
    for _ in 0..2 {
        let run = bench.inspect(&hub, "hf://owner/tiny");
        assert_eq!(run.code, Some(2));
        assert!(run.stderr.contains("has sha256"), "{}", run.stderr);
        assert!(!bench.snapshot(WEIGHTS).exists());
        assert!(!bench.partial().exists());
    }
    hub.way(Way::Whole);
    bench.inspect(&hub, "hf://owner/tiny").ok();
}

#[test]
fn a_part_that_cannot_be_continued_is_fetched_again() {
    let hub = Hub::tiny();
    let partial = |bench: &Bench| {
        hub.way(Way::Cut(50_000));
        assert_eq!(bench.inspect(&hub, "hf://owner/tiny").code, Some(2));
        let _ = hub.transfers();
        hub.way(Way::Whole);
        bench.partial()
    };
    let arrives = |bench: &Bench, ranges: &[Option<&str>]| {
        bench.inspect(&hub, "hf://owner/tiny").ok();
        let found: Vec<_> = hub.transfers().into_iter().map(|r| r.range).collect();
        let found: Vec<_> = found.iter().map(Option::as_deref).collect();
        assert_eq!(found, ranges);
        assert_eq!(
            std::fs::read(bench.snapshot(WEIGHTS)).unwrap(),
            golden(WEIGHTS)
        );
    };
    // Other bytes.
    let bench = Bench::empty();
    std::fs::write(partial(&bench), vec![7; 50_000]).unwrap();
    arrives(&bench, &[Some("bytes=50000-"), None]);
    // As many other bytes as there should be, and more.
    for more in [0, 1] {
        let bench = Bench::empty();
        std::fs::write(partial(&bench), vec![7; golden(WEIGHTS).len() + more]).unwrap();
        arrives(&bench, &[None]);
    }
    // All of them, not yet under their name.
    let bench = Bench::empty();
    std::fs::write(partial(&bench), golden(WEIGHTS)).unwrap();
    arrives(&bench, &[]);
    // A server that sends everything whatever it is asked for.
    let bench = Bench::empty();
    partial(&bench);
    hub.way(Way::WithoutRanges);
    arrives(&bench, &[Some("bytes=50000-")]);
}

#[test]
fn what_the_hub_refuses_is_said_in_its_terms() {
    let (bench, hub) = (Bench::empty(), Hub::tiny());
    for (what, said) in [
        ("hf://owner/absent", "no repository owner/absent"),
        ("hf://private/x", "no repository private/x"),
        ("hf://gated/x", "access to gated/x is restricted"),
        ("hf://busy/x", "503"),
        ("hf://owner/tiny@v2", "no revision v2"),
        ("hf://owner/tiny/b.bin", "owner/tiny at main has no b.bin"),
        ("hf://owner", "names no file of the hub"),
        ("hf://owner/tiny/../../x", "not a path inside"),
        ("hf://owner/tiny@..%2F../x", "the revision"),
    ] {
        bench.inspect(&hub, what).refused(&[said]);
        assert!(!Path::new(&bench.path("hf")).exists(), "{what}");
    }
    let gated = bench.inspect(&hub, "hf://gated/x").stderr;
    assert!(gated.contains("accept its terms") && gated.contains("HF_TOKEN"));
}

#[test]
fn a_repository_without_weights_is_refused_by_what_was_looked_for() {
    let (bench, hub) = (Bench::empty(), Hub::new(&[("README.md", b"x".to_vec())]));
    let run = bench.inspect(&hub, "hf://owner/tiny");
    run.refused(&["has no model.safetensors", "pytorch_model.bin"]);
}

#[test]
fn the_token_goes_to_the_hub_and_to_nobody_else() {
    let (bench, hub) = (Bench::empty(), Hub::tiny());
    let mut command = bench.with_hub(&hub, &["inspect", "hf://owner/tiny"]);
    Run::of(command.env("HF_TOKEN", "secret")).ok();
    let requests = hub.state().requests.clone();
    let of = |start: &str| {
        let found: Vec<_> = requests
            .iter()
            .filter(|r| r.path.starts_with(start))
            .collect();
        assert!(!found.is_empty(), "{start}");
        found.into_iter().map(|r| r.token.clone())
    };
    assert!(of("/owner/").all(|token| token.as_deref() == Some("Bearer secret")));
    assert!(of("/api/").all(|token| token.as_deref() == Some("Bearer secret")));
    assert!(of("/cdn/").all(|token| token.is_none()));
}

#[test]
fn shards_arrive_with_their_list() {
    let bench = Bench::empty();
    let index = |shard: &str| {
        let map = serde_json::json!({"weight_map": {"a": "x-1.safetensors", "b": shard}});
        serde_json::to_vec(&map).unwrap()
    };
    let list = "model.safetensors.index.json";
    let hub = Hub::new(&[
        (list, index("x-2.safetensors")),
        ("x-1.safetensors", b"one".to_vec()),
        ("x-2.safetensors", b"two".to_vec()),
    ]);
    // Whether the list can be loaded is another matter.
    bench.inspect(&hub, "hf://owner/tiny");
    assert_eq!(
        std::fs::read(bench.snapshot("x-1.safetensors")).unwrap(),
        b"one"
    );
    assert_eq!(
        std::fs::read(bench.snapshot("x-2.safetensors")).unwrap(),
        b"two"
    );
    assert!(bench.snapshot(list).is_file());

    for outside in ["../../../../x", "/x", "", "..", "a/x", "C:x"] {
        let bench = Bench::empty();
        let first = ("x-1.safetensors", b"one".to_vec());
        let hub = Hub::new(&[(list, index(outside)), first]);
        let run = bench.inspect(&hub, "hf://owner/tiny");
        assert_eq!(run.code, Some(2));
        assert!(run.stderr.contains("no plain file name"), "{}", run.stderr);
        assert!(hub.transfers().is_empty());
    }
    let last = ("x-2.safetensors", b"two".to_vec());
    let missing = Hub::new(&[(list, index("x-2.safetensors")), last]);
    let run = Bench::empty().inspect(&missing, "hf://owner/tiny");
    assert!(
        run.stderr.contains("has no x-1.safetensors"),
        "{}",
        run.stderr
    );
    assert!(missing.transfers().is_empty());
}

#[test]
fn small_files_are_verified_by_their_hash_in_git() {
    let (bench, hub) = (Bench::empty(), Hub::tiny());
    hub.way(Way::SmallDamaged);
    let run = bench.inspect(&hub, "hf://owner/tiny");
    assert_eq!(run.code, Some(2));
    let said = format!("announced {}", git_hash(&golden("config.json")));
    assert!(run.stderr.contains(&said), "{}", run.stderr);
    assert!(!bench.snapshot("config.json").exists());

    // What another program began is no part of it.
    hub.way(Way::Whole);
    let name = format!("blobs/{}.incomplete", git_hash(&golden("config.json")));
    std::fs::write(bench.cache(&name), "{").unwrap();
    bench.inspect(&hub, "hf://owner/tiny").ok();
    let found = std::fs::read(bench.snapshot("config.json")).unwrap();
    assert_eq!(found, golden("config.json"));
}

#[test]
fn what_other_programs_left_in_the_cache_is_hashed_once() {
    let (bench, hub) = (Bench::empty(), Hub::tiny());
    bench.inspect(&hub, "hf://owner/tiny").ok();
    let blob = bench.cache("blobs").join(sha256(&golden(WEIGHTS)));
    let mark = blob.with_extension("verified");
    assert!(mark.is_file());
    let _ = hub.transfers();
    let offline = || {
        let mut command = bench.with_hub(&hub, &["inspect", "hf://owner/tiny"]);
        Run::of(command.env("HF_HUB_OFFLINE", "1"))
    };

    // As Python leaves it.
    std::fs::remove_file(&mark).unwrap();
    assert_eq!(bench.inspect(&hub, "hf://owner/tiny").ok().stderr, "");
    assert!(hub.transfers().is_empty() && mark.is_file());

    // As long, and other bytes: the mark tells that they were written since.
    let mut bytes = golden(WEIGHTS);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&blob, &bytes).unwrap();
    offline().refused(&["is damaged", WEIGHTS]);
    let run = bench.inspect(&hub, "hf://owner/tiny").ok();
    assert!(run.stderr.contains("is damaged"), "{}", run.stderr);
    assert_eq!(hub.transfers().len(), 1);
    assert_eq!(std::fs::read(&blob).unwrap(), golden(WEIGHTS));
    assert_eq!(offline().ok().stderr, "");
}

#[test]
fn descriptions_too_long_for_one_are_not_downloaded() {
    let index = "model.safetensors.index.json";
    for (name, limit) in [("config.json", 1 << 20), (index, 64 << 20)] {
        let hub = Hub::new(&[(name, vec![b' '; limit + 1])]);
        if name == "config.json" {
            hub.put(WEIGHTS, golden(WEIGHTS));
        }
        let run = Bench::empty().inspect(&hub, "hf://owner/tiny");
        run.refused(&[name, &format!("has {} bytes", limit + 1)]);
        assert_eq!(hub.reads(name), 0);
        assert!(hub.transfers().is_empty());
    }
}

#[test]
fn once_the_hub_has_answered_its_cache_is_no_answer() {
    let (bench, hub) = (Bench::empty(), Hub::tiny());
    bench.inspect(&hub, "hf://owner/tiny").ok();
    hub.way(Way::ConfigBusy);
    let run = bench.inspect(&hub, "hf://owner/tiny");
    run.refused(&["config.json cannot be reached", "503"]);
}
