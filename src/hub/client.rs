//! The two requests that a download takes.

use std::time::Duration;

use ureq::config::RedirectAuthHeaders;
use ureq::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, ETAG, LOCATION, RANGE};
use ureq::http::{HeaderMap, HeaderName, Response};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::typestate::WithoutBody;
use ureq::{Agent, Body, RequestBuilder};

use super::hash::Hash;
use super::{HubError, HubReference, HubSettings};

/// Longest wait for a connection, an answer or the next bytes of one.
const PATIENCE: Duration = Duration::from_secs(20);

/// Redirects within the hub, as from a repository's former name.
const REDIRECTS: usize = 5;

/// One revision of one file.
#[derive(Debug)]
pub(super) struct Metadata {
    /// The commit that the revision is.
    pub commit: String,
    /// Name of its contents, a hash of them on the hub itself.
    pub etag: String,
    /// Bytes.
    pub size: u64,
}

impl Metadata {
    /// The hash of the contents that the etag is, where it is one.
    pub(super) fn hash(&self) -> Option<Hash> {
        Hash::of_etag(&self.etag)
    }
}

/// The hub, asked for files of one repository.
pub(super) struct Client<'a> {
    agent: Agent,
    settings: &'a HubSettings,
    repository: &'a str,
}

impl<'a> Client<'a> {
    pub(super) fn new(settings: &'a HubSettings, reference: &'a HubReference) -> Self {
        // Many clusters reach the network through a proxy with a certificate of their own.
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .tls_config(tls.build())
            .user_agent(concat!("mimbench/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(PATIENCE))
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .build();
        Self {
            agent: config.new_agent(),
            settings,
            repository: &reference.repository,
        }
    }

    /// Address of a file.
    pub(super) fn url(&self, revision: &str, file: &str) -> String {
        format!(
            "{}/{}/resolve/{}/{}",
            self.settings.endpoint,
            self.repository,
            quoted(revision, ""),
            quoted(file, "/")
        )
    }

    /// What the hub says of a file; `None` where the repository lacks it.
    pub(super) fn metadata(
        &self,
        revision: &str,
        file: &str,
    ) -> Result<Option<Metadata>, HubError> {
        let mut url = self.url(revision, file);
        for _ in 0..REDIRECTS {
            let request = self.agent.head(&url).config().max_redirects(0).build();
            let response = self.send(request, &url)?;
            let headers = response.headers();
            let status = response.status();
            if status == 404 && !says(headers, "RepoNotFound") {
                return match says(headers, "RevisionNotFound") {
                    true => Err(HubError::NoRevision {
                        repository: self.repository.to_owned(),
                        revision: revision.to_owned(),
                    }),
                    false => Ok(None),
                };
            }
            if !(status.is_success() || status.is_redirection()) {
                return Err(self.refused(&response, &url));
            }
            // Contents lie on another host: what the hub knows of them stands in its own answer.
            match text(headers, &LOCATION)
                .filter(|to| status.is_redirection() && to.starts_with('/'))
            {
                Some(to) => url = format!("{}{to}", self.origin()),
                None => return described(headers, &url).map(Some),
            }
        }
        Err(HubError::Answer {
            url,
            reason: "it redirects again and again".to_owned(),
        })
    }

    /// The contents from byte `start` on; a server may answer with all of them.
    pub(super) fn contents(&self, url: &str, start: u64) -> Result<Response<Body>, HubError> {
        let request = self.agent.get(url);
        let request = match start {
            0 => request,
            _ => request.header(RANGE, format!("bytes={start}-")),
        };
        let response = self.send(request, url)?;
        match response.status().as_u16() {
            200 | 206 => Ok(response),
            _ => Err(self.refused(&response, url)),
        }
    }

    fn send(
        &self,
        request: RequestBuilder<WithoutBody>,
        url: &str,
    ) -> Result<Response<Body>, HubError> {
        let request = request.header(ACCEPT_ENCODING, "identity");
        let request = match &self.settings.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        };
        request.call().map_err(|error| HubError::Unreachable {
            url: url.to_owned(),
            reason: error.to_string(),
        })
    }

    /// Scheme and host of the hub.
    fn origin(&self) -> &str {
        let endpoint = &self.settings.endpoint;
        let host = endpoint.find("://").map_or(0, |at| at + 3);
        let end = endpoint[host..]
            .find('/')
            .map_or(endpoint.len(), |at| host + at);
        &endpoint[..end]
    }

    /// Why the hub gives no file; codes as in huggingface_hub's `utils/_http.py`.
    fn refused(&self, response: &Response<Body>, url: &str) -> HubError {
        let repository = self.repository.to_owned();
        let url = url.to_owned();
        let gated = says(response.headers(), "GatedRepo");
        match response.status().as_u16() {
            403 => HubError::Gated { repository },
            401 if gated => HubError::Gated { repository },
            401 | 404 => HubError::NoRepository { repository },
            status @ (408 | 429 | 500..) => HubError::Unreachable {
                url,
                reason: format!("it answers with status {status}"),
            },
            status => HubError::Answer {
                url,
                reason: format!("status {status}"),
            },
        }
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Whether the hub gives this as its reason.
fn says(headers: &HeaderMap, code: &str) -> bool {
    text(headers, &HeaderName::from_static("x-error-code")) == Some(code)
}

/// Reads the hub's headers; what becomes the name of a file in the cache must be one.
fn described(headers: &HeaderMap, url: &str) -> Result<Metadata, HubError> {
    let linked = |name, plain: &HeaderName| {
        text(headers, &HeaderName::from_static(name)).or_else(|| text(headers, plain))
    };
    let wrong = |reason: &str| HubError::Answer {
        url: url.to_owned(),
        reason: reason.to_owned(),
    };
    let commit = text(headers, &HeaderName::from_static("x-repo-commit"))
        .filter(|commit| is_hex(commit, 40))
        .ok_or_else(|| wrong("it names no commit"))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let etag = linked("x-linked-etag", &ETAG)
        .map(|etag| etag.trim_start_matches("W/").trim_matches('"'))
        .filter(|etag| !etag.is_empty() && etag.len() <= 128 && etag.chars().all(plain))
        .ok_or_else(|| wrong("it has no etag"))?;
    let size = linked("x-linked-size", &CONTENT_LENGTH)
        .and_then(|size| size.parse().ok())
        .ok_or_else(|| wrong("it tells no size"))?;
    Ok(Metadata {
        commit: commit.to_owned(),
        etag: etag.to_owned(),
        size,
    })
}

/// Whether `text` is so many lower-case hexadecimal digits.
pub(super) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

/// Percent-encodes all but RFC 3986's unreserved characters and those of `kept`.
fn quoted(text: &str, kept: &str) -> String {
    let mut quoted = String::new();
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "-._~".contains(c) || kept.contains(c) {
            quoted.push(c);
        } else {
            quoted.push_str(&format!("%{byte:02X}"));
        }
    }
    quoted
}
