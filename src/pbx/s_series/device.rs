//! What a PBX says about itself (`docs/pbx-api.md` §6.3).

use bytes::Bytes;
use serde_json::Value;

use crate::pbx::DeviceInfo;
use crate::pbx::error::{PbxError, Reason};
use crate::pbx::s_series::PbxClient;
use crate::pbx::s_series::envelope::text;
use crate::pbx::s_series::policy::{Family, Stage};

impl PbxClient {
    /// Asks the PBX who it is; `None` if it has no such call, or gives no serial number.
    ///
    /// # Errors
    ///
    /// As for every call: the way to the PBX, the login, the reply.
    pub async fn device_info(&self) -> Result<Option<DeviceInfo>, PbxError> {
        let doing = "asking for the serial number".to_owned();
        let action = self.shared.action(Family::Device, Stage::Query, doing);
        let mut slot = self.slot().await;
        // The call has no parameters, but an empty body is answered with errno 20009.
        match slot.call(&action, "deviceinfo/query", Bytes::from_static(b"{}")).await {
            Ok(answer) => Ok(DeviceInfo::of_reply(answer.members)),
            Err(error)
                if error.is_of_the_call()
                    && matches!(error.reason(), Reason::Unsupported | Reason::Http(404)) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl DeviceInfo {
    /// Reads a reply; `None` without a serial number. Devices nest the members in `deviceinfo`; some may not.
    pub fn of_reply(mut reply: serde_json::Map<String, Value>) -> Option<Self> {
        let members = match reply.remove("deviceinfo") {
            Some(Value::Object(members)) => members,
            _ => reply,
        };
        let member =
            |name| text(&members, name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        Some(Self {
            sn: member("sn")?,
            firmware: member("firmwarever"),
            name: member("devicename"),
            system_time: member("systemtime"),
        })
    }
}
