//! Whom we believe and who we are in TLS.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
};

use super::{
    error::Failure,
    transport::{Pem, Transport},
};

/// The settings for TLS that a transport asks for.
pub(super) fn client_config(transport: &Transport) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match transport.skip_verify {
        true => Arc::new(BelievesAll(provider.clone())),
        false => verifier(&transport.authorities, provider.clone())?,
    };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Failure::Tls(error.into()))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let Some(pem) = &transport.identity else { return Ok(builder.with_no_client_auth()) };
    let key = PrivateKeyDer::from_pem_slice(&pem.text).map_err(|error| unusable(pem, error.into()))?;
    builder.with_client_auth_cert(certificates(pem)?, key).map_err(|error| unusable(pem, error.into()))
}

/// Believes what the system's and the configured authorities vouch for.
fn verifier(authorities: &[Pem], provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, Failure> {
    let mut roots = RootCertStore::empty();
    // What cannot be read of the system's is as good as not there.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let mut configured = Vec::new();
    for pem in authorities {
        for certificate in certificates(pem)? {
            roots.add(certificate.clone()).map_err(|error| unusable(pem, error.into()))?;
            configured.push(certificate);
        }
    }
    if roots.is_empty() {
        return Err(Failure::Tls("there are no certificates of authorities on this host".into()));
    }
    let authority = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let authority = authority.build().map_err(|error| Failure::Tls(error.into()))?;
    Ok(match configured.is_empty() {
        true => authority,
        false => Arc::new(BelievesConfigured { authority, configured }),
    })
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.text).collect();
    let certificates = certificates.map_err(|error| unusable(pem, error.into()))?;
    if certificates.is_empty() {
        return Err(unusable(pem, "there is no certificate in it".into()));
    }
    Ok(certificates)
}

fn unusable(pem: &Pem, source: Box<dyn std::error::Error + Send + Sync>) -> Failure {
    Failure::Trust { path: pem.path.clone(), source }
}

/// Believes authorities, and also a server that shows one of the configured certificates itself: self-signed
/// certificates are usually made as authorities, which webpki alone does not take for a server's.
#[derive(Debug)]
struct BelievesConfigured {
    authority: Arc<WebPkiServerVerifier>,
    configured: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for BelievesConfigured {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.authority.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // webpki looks at this after the time for which a certificate is valid, so that is no question any more.
            Err(error) if is_authority_as_server(&error) && self.configured.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authority.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authority.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authority.supported_verify_schemes()
    }
}

fn is_authority_as_server(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// Believes every server that has the key of the certificate it shows: `skip_verify`.
#[derive(Debug)]
struct BelievesAll(Arc<CryptoProvider>);

impl ServerCertVerifier for BelievesAll {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
