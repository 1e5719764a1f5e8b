/** Damaged answers, invitations and tables, as a phone's page gets them: read or refused. */

import { readSignature } from "../src/client/secure/signed_register.ts";
import { readTable } from "../src/data/tables.ts";
import { Unfit } from "../src/data/unfit.ts";
import { readAnswer } from "../src/node/join.ts";
import { readAbout } from "../src/page/about.ts";
import { invitationIn } from "../src/page/invitation.ts";
import { OwnSchema } from "../src/recipe/own_data.ts";
import { type Bytes, utf8 } from "../src/types.ts";
import { decode, encode } from "../src/wire/codec.ts";
import { packStage, unpackStage } from "../src/wire/messages.ts";
import { textOf } from "../src/wire/reader.ts";
import { readJson } from "../src/wire/text.ts";
import { fuzz, refusing } from "./fuzzing.ts";
import { LINES } from "./masked_round.ts";
import { bytes, vectors } from "./support.ts";

const SIGNED = Object.values<any>(vectors("registers").signed)
  .filter(({ found }) => found !== null).map(({ text }): string => text);
const JOINED = SIGNED.map((register) => utf8(JSON.stringify({
  node_id: 2 ** 40, name: "phone-1", federation: "0123456789abcdef", register, trust: "signed",
})));
const ABOUT = [
  { shape: [1, 28, 28], classes: [..."0123456789"], lowest: [0], highest: [1] },
  { columns: ["age", "pressure"], label: "sick", classes: ["no", "yes"], shift: [50, 120], scale: [10, 20] },
].map((schema) => utf8(JSON.stringify({
  name: "a run", rounds: 20, schema, model: { values: 21_840 }, masked: { least: 8 }, bytes: { up: 1, down: 2 },
  epsilon: null, graphs: { hash: "5b".repeat(32), size: 9, key: "" },
})));
const INVITED = utf8(btoa(JSON.stringify({
  address: "https://192.168.1.10:8470", token: "A".repeat(32), administrator: "ab".repeat(32), task: "to read digits",
})).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", ""));
const PATIENTS = OwnSchema.fromJson(readJson('{"columns": ["age", "pressure"], "label": "sick"}'));
const STAGES = [...LINES.values()].slice(0, 8).map((data) => encode(packStage(bytes(data))));

/** What is there; throws where there is nothing. */
function there<T>(found: T | undefined): T {
  if (found === undefined) throw new RangeError("it is something else");
  return found;
}

fuzz("readJson", [...ABOUT, ...JOINED], (data) => readJson(textOf(data)));
fuzz("the answer to a phone that joins", JOINED, refusing(readAnswer, SyntaxError), (data) => 2 * data.length);
fuzz("a register's signature", SIGNED.map(utf8), (data) => readSignature(textOf(data)));
fuzz("a run's facts", ABOUT, (data) => there(readAbout(textOf(data))));
fuzz("an invitation", [INVITED], (data) => there(invitationIn(String.fromCharCode(...data))));
fuzz("a message of a masked round", STAGES, (data) => unpackStage(decode(data)));
// A cell of two bytes is a number of eight.
const tables = ["age,pressure,sick\n50.5,120,1\n61,99.9,0\n", 'note;sick;age;pressure\n"a ""b""\nc";1;2;3\n'].map(utf8);
fuzz("a table", tables, refusing((data: Bytes) => readTable(data, PATIENTS), Unfit), (data) => 4 * data.length);
