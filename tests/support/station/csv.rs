//! A CDR as the PBX's own web export writes it: made here, so that no code of the simulator or the client is in it.

use std::fs;
use std::path::PathBuf;

use callvault::simulator::SimCall;

use super::Station;

/// The headings, in the order of [`cells`].
pub(crate) const HEADINGS: [&str; 14] = [
    "callid",
    "timestart",
    "callfrom",
    "callto",
    "callduraction",
    "talkduraction",
    "srctrunkname",
    "dsttrunkname",
    "status",
    "type",
    "pincode",
    "recording",
    "didnumber",
    "sn",
];

impl Station {
    /// Writes the PBX's calls to the file `name`, after `change` to its rows of cells, headings first.
    pub(crate) fn export(&self, name: &str, change: impl FnOnce(&mut Vec<Vec<Vec<u8>>>)) -> PathBuf {
        let mut table = vec![HEADINGS.map(|heading| heading.as_bytes().to_vec()).to_vec()];
        table.extend(self.pbx.world(|world| world.all_rows()).iter().map(cells));
        change(&mut table);
        let mut writer = ::csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
        for row in &table {
            writer.write_record(row).unwrap();
        }
        self.write(name, &writer.into_inner().unwrap())
    }

    /// Writes an input file.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.input().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn cells(call: &SimCall) -> Vec<Vec<u8>> {
    let start = call.start.in_tz("Europe/Berlin").unwrap().strftime("%Y-%m-%d %H:%M:%S").to_string();
    vec![
        call.callid.clone().into_bytes(),
        start.into_bytes(),
        call.callfrom.clone().into_bytes(),
        call.callto.clone().into_bytes(),
        call.call_duration_s.to_string().into_bytes(),
        call.talk_duration_s.to_string().into_bytes(),
        call.source_trunk.clone().into_bytes(),
        call.destination_trunk.clone().into_bytes(),
        call.status.clone().into_bytes(),
        call.call_type.clone().into_bytes(),
        call.pincode.clone().into_bytes(),
        call.recording.clone(),
        call.did.clone().into_bytes(),
        b"369392500001".to_vec(),
    ]
}
