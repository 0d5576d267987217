//! Public keys.

use rustls::pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, pem::PemObject as _};
use webpki::{
    Error, RawPublicKeyEntity,
    ring::{ECDSA_P256_SHA256, ECDSA_P384_SHA256, ED25519, RSA_PKCS1_2048_8192_SHA256},
};

/// The schemes that cosign signs with; each fits one kind of key only.
const SCHEMES: [&dyn SignatureVerificationAlgorithm; 4] =
    [ECDSA_P256_SHA256, ECDSA_P384_SHA256, ED25519, RSA_PKCS1_2048_8192_SHA256];

/// A key that signatures are checked with.
#[derive(Debug, Clone)]
pub(super) struct PublicKey {
    key: SubjectPublicKeyInfoDer<'static>,
    scheme: &'static dyn SignatureVerificationAlgorithm,
}

impl PublicKey {
    /// Reads a key in PEM, `-----BEGIN PUBLIC KEY-----`. The error says what is wrong with it.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, &'static str> {
        let mut keys = SubjectPublicKeyInfoDer::pem_slice_iter(pem);
        let (Some(Ok(key)), None) = (keys.next(), keys.next()) else {
            return Err("it does not hold exactly one public key in PEM");
        };
        let fits = |scheme: &&dyn SignatureVerificationAlgorithm| {
            // Nobody has signed anything here; the question is whether that is all there is to complain about.
            matches!(verify(&key, *scheme, b"", b""), Err(Error::InvalidSignatureForPublicKey))
        };
        let scheme = SCHEMES.into_iter().find(fits);
        let scheme = scheme.ok_or("its key is not ECDSA on P-256 or P-384, Ed25519 or RSA")?;
        Ok(Self { key, scheme })
    }

    /// Whether the owner of this key has signed a message.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        verify(&self.key, self.scheme, message, signature).is_ok()
    }
}

fn verify(
    key: &SubjectPublicKeyInfoDer<'_>,
    scheme: &dyn SignatureVerificationAlgorithm,
    message: &[u8],
    signature: &[u8],
) -> Result<(), Error> {
    RawPublicKeyEntity::try_from(key)?.verify_signature(scheme, message, signature)
}
