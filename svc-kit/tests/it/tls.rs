//! TLS with certificates made on the spot.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use svc_kit::client::Transport;
use svc_kit::config::{ClientTls, EndpointConfig, ServerConfig, ServerTls};
use svc_kit::server::{App, ServeError};
use tonic::Code;

use crate::echo::{Echo, Running, call};

/// An authority and what it signed, as PEM files in a folder.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("an authority");
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("file");
        Self { folder, issuer }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `NAME.pem` and `NAME.key` for this host.
    pub(crate) fn issue(&self, name: &str, host: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("key");
        let params = CertificateParams::new(vec![host.to_owned()]).expect("params");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        let write = |path: &Path, text: String| std::fs::write(path, text).expect("file");
        let (cert_path, key_path) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        write(&cert_path, cert.pem());
        write(&key_path, key.serialize_pem());
        (cert_path, key_path)
    }
}

fn endpoint(server: &Running, tls: ClientTls) -> Transport {
    let config = EndpointConfig {
        tls,
        ..EndpointConfig::to(format!("https://localhost:{}", server.address.port()))
    };
    Transport::remote(&config).expect("certificates")
}

#[tokio::test]
async fn both_sides_prove_who_they_are() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (cert, key) = ours.issue("server", "localhost");
    let config = ServerConfig {
        tls: ServerTls {
            cert: Some(cert),
            key: Some(key),
            client_ca: Some(ours.path("ca.pem")),
        },
        ..ServerConfig::default()
    };
    let server = Running::start(&config, |_| App::new().service(Echo::default())).await;
    let client = |authority: &Authority, signer: Option<&Authority>| {
        let (cert, key) = signer.map(|signer| signer.issue("client", "client")).unzip();
        endpoint(
            &server,
            ClientTls {
                ca: Some(authority.path("ca.pem")),
                cert,
                key,
                domain: None,
            },
        )
    };
    assert!(call(&client(&ours, Some(&ours)), "Unary", "").await.is_ok());
    for (who, transport) in [
        ("a client without a certificate", client(&ours, None)),
        ("a client that somebody else vouches for", client(&ours, Some(&theirs))),
        ("a server that the client does not trust", client(&theirs, Some(&ours))),
        ("a client without TLS", server.transport()),
    ] {
        let status = call(&transport, "Unary", "").await.expect_err(who);
        assert_eq!(status.code(), Code::Unavailable, "{who}: {status:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_named() {
    let authority = Authority::new();
    let serve = async |cert: PathBuf, key: PathBuf| {
        let config = ServerConfig {
            tls: ServerTls {
                cert: Some(cert),
                key: Some(key),
                client_ca: None,
            },
            ..ServerConfig::default()
        };
        let listener = svc_kit::server::Listener::bind(&config).await.expect("a free port");
        let context = svc_kit::server::Context::new(&config, svc_kit::shutdown::Token::new());
        match listener.serve(App::new(), &config, &context).await {
            Err(ServeError::Config(error)) => error.to_string(),
            other => panic!("must be refused: {other:?}"),
        }
    };
    let missing = authority.path("missing.pem");
    let text = serve(missing.clone(), missing).await;
    assert!(
        text.contains("server.tls.cert: cannot read") && text.contains("missing.pem"),
        "{text}"
    );
    let nonsense = authority.path("nonsense.pem");
    std::fs::write(&nonsense, "not a certificate").expect("file");
    let text = serve(nonsense.clone(), nonsense).await;
    assert!(text.starts_with("server.tls"), "{text}");
}
