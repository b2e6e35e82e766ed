//! The error numbers that a device answers with (`docs/pbx-api.md` §4).

/// XML body not supported.
pub(super) const XML: u32 = 10002;
/// Unsupported request: unknown endpoint or version.
pub(super) const UNSUPPORTED: u32 = 10003;
/// A required parameter is blank.
pub(super) const BLANK_PARAMETER: u32 = 10004;
/// The extension does not exist.
pub(super) const NO_EXTENSION: u32 = 10006;
/// JSON only.
pub(super) const NOT_JSON: u32 = 20000;
/// POST only.
pub(super) const POST_ONLY: u32 = 20001;
/// Login refused: locked out.
pub(super) const LOCKED: u32 = 20002;
/// Login refused: bad user or password.
pub(super) const BAD_PASSWORD: u32 = 20003;
/// No such token.
pub(super) const NO_TOKEN: u32 = 20004;
/// The token is blank.
pub(super) const BLANK_TOKEN: u32 = 20005;
/// The token timed out.
pub(super) const TOKEN_EXPIRED: u32 = 20006;
/// Blank request.
pub(super) const BLANK_REQUEST: u32 = 20009;
/// The web server could not hand the request to its API process.
pub(super) const NO_APISRV: u32 = 20010;
/// v1.0.x: the recording does not exist. Later: the recording's random is invalid.
pub(super) const RECORDING_RANDOM: u32 = 20012;
/// v1.0.x: the recording was deleted. Later: the recording does not exist.
pub(super) const NO_RECORDING: u32 = 20014;
/// `allowedip` is wrong.
pub(super) const ALLOWED_IP: u32 = 20015;
/// The voicemail status is wrong.
pub(super) const VOICEMAIL_STATUS: u32 = 20016;
/// The voicemail's random is invalid.
pub(super) const VOICEMAIL_RANDOM: u32 = 20017;
/// The voicemail does not exist.
pub(super) const NO_VOICEMAIL: u32 = 20018;
/// The time of a CDR request is malformed.
pub(super) const CDR_TIME: u32 = 20019;
/// The CDR's random is invalid.
pub(super) const CDR_RANDOM: u32 = 20020;
/// There is no call in the range.
pub(super) const NO_CDR: u32 = 20021;
/// Out of memory for JSON.
pub(super) const JSON_MEMORY: u32 = 30001;
/// The API process is not started.
pub(super) const APISRV_DOWN: u32 = 30003;
