//! The providers: AES-GCM, AES-CBC, `XSalsa20`-Poly1305 and none, in upstream's layouts.

use aes::{Aes128, Aes192, Aes256};
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{AesGcm, KeyInit};
use bytes::Bytes;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, StreamCipher};
use poly1305::Poly1305;
use poly1305::universal_hash::array::Array;
use ring::rand::{SecureRandom, SystemRandom};
use salsa20::XSalsa20;

use super::{MARK, Opened};
use crate::authn::bootstrap_token::same;

const GCM_NONCE: usize = 12;
const BLOCK: usize = 16;
const BOX_NONCE: usize = 24;
const BOX_TAG: usize = 16;
/// The first half block of the key stream makes the authenticator's key.
const BOX_LEAD: usize = 32;

/// Why a value cannot be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// No provider knows how the value was sealed.
    #[error("no key of --encryption-provider-config fits the stored value")]
    NoKey,
    /// The value is damaged, was moved from another key, or the key is another one of the same name.
    #[error("the stored value is not authentic for its key")]
    NotAuthentic,
    /// The system gives no random numbers.
    #[error("the system has no randomness to give")]
    NoRandomness,
}

/// One key of a provider.
pub(super) enum Cipher {
    Gcm128(Box<AesGcm<Aes128, U12>>),
    Gcm192(Box<AesGcm<Aes192, U12>>),
    Gcm256(Box<AesGcm<Aes256, U12>>),
    Cbc(Vec<u8>),
    Box([u8; 32]),
}

impl Cipher {
    /// AES-GCM with a key of 16, 24 or 32 bytes.
    pub(super) fn gcm(key: &[u8]) -> Option<Self> {
        Some(match key.len() {
            16 => Self::Gcm128(Box::new(AesGcm::new_from_slice(key).ok()?)),
            24 => Self::Gcm192(Box::new(AesGcm::new_from_slice(key).ok()?)),
            32 => Self::Gcm256(Box::new(AesGcm::new_from_slice(key).ok()?)),
            _ => return None,
        })
    }

    /// AES-CBC with a key of 16, 24 or 32 bytes.
    pub(super) fn cbc(key: &[u8]) -> Option<Self> {
        matches!(key.len(), 16 | 24 | 32).then(|| Self::Cbc(key.to_vec()))
    }

    /// `XSalsa20`-Poly1305 with a key of 32 bytes.
    pub(super) fn secret_box(key: &[u8]) -> Option<Self> {
        Some(Self::Box(key.try_into().ok()?))
    }

    fn seal(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        match self {
            Self::Gcm128(cipher) => seal_gcm(&**cipher, context, plain),
            Self::Gcm192(cipher) => seal_gcm(&**cipher, context, plain),
            Self::Gcm256(cipher) => seal_gcm(&**cipher, context, plain),
            Self::Cbc(key) => seal_cbc(key, plain),
            Self::Box(key) => seal_box(key, plain),
        }
    }

    fn open(&self, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Gcm128(cipher) => open_gcm(&**cipher, context, sealed),
            Self::Gcm192(cipher) => open_gcm(&**cipher, context, sealed),
            Self::Gcm256(cipher) => open_gcm(&**cipher, context, sealed),
            Self::Cbc(key) => open_cbc(key, sealed),
            Self::Box(key) => open_box(key, sealed),
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| SealError::NoRandomness)?;
    Ok(bytes)
}

fn seal_gcm<C: Aead<NonceSize = U12>>(cipher: &C, aad: &[u8], msg: &[u8]) -> Result<Vec<u8>, SealError> {
    let nonce = random::<GCM_NONCE>()?;
    let sealed = cipher.encrypt(&nonce.into(), Payload { msg, aad }).map_err(|_| SealError::NotAuthentic)?;
    Ok([&nonce[..], &sealed].concat())
}

fn open_gcm<C: Aead<NonceSize = U12>>(cipher: &C, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, msg) = sealed.split_first_chunk::<GCM_NONCE>()?;
    cipher.decrypt(&(*nonce).into(), Payload { msg, aad }).ok()
}

fn seal_cbc(key: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let iv = random::<BLOCK>()?;
    let made =
        match key.len() {
            16 => cbc::Encryptor::<Aes128>::new_from_slices(key, &iv)
                .map(|cipher| cipher.encrypt_padded_vec::<Pkcs7>(plain)),
            24 => cbc::Encryptor::<Aes192>::new_from_slices(key, &iv)
                .map(|cipher| cipher.encrypt_padded_vec::<Pkcs7>(plain)),
            _ => cbc::Encryptor::<Aes256>::new_from_slices(key, &iv)
                .map(|cipher| cipher.encrypt_padded_vec::<Pkcs7>(plain)),
        };
    Ok([&iv[..], &made.map_err(|_| SealError::NoKey)?].concat())
}

fn open_cbc(key: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (iv, sealed) = sealed.split_first_chunk::<BLOCK>()?;
    match key.len() {
        16 => cbc::Decryptor::<Aes128>::new_from_slices(key, iv).ok()?.decrypt_padded_vec::<Pkcs7>(sealed).ok(),
        24 => cbc::Decryptor::<Aes192>::new_from_slices(key, iv).ok()?.decrypt_padded_vec::<Pkcs7>(sealed).ok(),
        _ => cbc::Decryptor::<Aes256>::new_from_slices(key, iv).ok()?.decrypt_padded_vec::<Pkcs7>(sealed).ok(),
    }
}

/// `NaCl`'s secretbox: 32 bytes of key stream make the key of the authenticator, the rest hides the text.
fn seal_box(key: &[u8; 32], plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let nonce = random::<BOX_NONCE>()?;
    let mut text = [&[0; BOX_LEAD][..], plain].concat();
    XSalsa20::new(key.into(), (&nonce).into()).apply_keystream(&mut text);
    let (lead, hidden) = text.split_at(BOX_LEAD);
    Ok([&nonce[..], &tag(lead, hidden), hidden].concat())
}

fn open_box(key: &[u8; 32], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = sealed.split_first_chunk::<BOX_NONCE>()?;
    let (wanted, hidden) = sealed.split_first_chunk::<BOX_TAG>()?;
    let mut text = [&[0; BOX_LEAD][..], hidden].concat();
    XSalsa20::new(key.into(), nonce.into()).apply_keystream(&mut text);
    let plain = text.split_off(BOX_LEAD);
    same(&tag(&text, hidden), wanted).then_some(plain)
}

fn tag(lead: &[u8], hidden: &[u8]) -> [u8; BOX_TAG] {
    let key: [u8; 32] = lead.try_into().expect("the lead is as long as a key");
    Poly1305::new(&Array(key)).compute_unpadded(hidden).into()
}

/// One provider with its keys; without any it leaves values as they are.
pub(super) struct Provider {
    /// `k8s:enc:aesgcm:v1:`; empty for the provider that does nothing.
    pub(super) prefix: String,
    /// The names of the keys and what they do, the one for new values first.
    pub(super) keys: Vec<(String, Cipher)>,
}

/// The providers of one rule, the one for new values first.
pub(super) struct Chain(pub(super) Vec<Provider>);

impl Chain {
    pub(super) fn seal(&self, key: &str, plain: &Bytes) -> Result<Bytes, SealError> {
        let Some((provider, (name, cipher))) = self.0.first().and_then(|first| Some((first, first.keys.first()?)))
        else {
            return Ok(plain.clone());
        };
        let sealed = cipher.seal(key.as_bytes(), plain)?;
        Ok([provider.prefix.as_bytes(), name.as_bytes(), b":", &sealed].concat().into())
    }

    pub(super) fn open(&self, key: &str, value: &Bytes) -> Result<Opened, SealError> {
        let mut failure = SealError::NoKey;
        for (place, provider) in self.0.iter().enumerate() {
            if provider.keys.is_empty() {
                if !value.starts_with(MARK) {
                    return Ok(Opened { plain: value.clone(), stale: place > 0 });
                }
                continue;
            }
            let Some(rest) = value.strip_prefix(provider.prefix.as_bytes()) else { continue };
            for (number, (name, cipher)) in provider.keys.iter().enumerate() {
                let Some(sealed) = rest.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b":")) else {
                    continue;
                };
                // Two providers may have keys of the same name.
                match cipher.open(key.as_bytes(), sealed) {
                    Some(plain) => return Ok(Opened { plain: plain.into(), stale: place + number > 0 }),
                    None => failure = SealError::NotAuthentic,
                }
            }
        }
        Err(failure)
    }
}
