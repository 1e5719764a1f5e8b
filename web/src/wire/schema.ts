/** The schema of a message's content; names and field numbers are those of Flower's `RecordDict`. */

import type { Schema } from "./protobuf.ts";

const NUMBERS = [["double", 1, "double|"], ["sint64", 2, "sint64|"], ["uint64", 3, "uint64|"]] as const;
const NUMBER_LISTS = [
  ["double_list", 21, "DoubleList|"], ["sint_list", 22, "SintList|"], ["uint_list", 23, "UintList|"],
] as const;

export const RECORDS: Schema = {
  DoubleList: [["vals", 1, "double*"]],
  SintList: [["vals", 1, "sint64*"]],
  UintList: [["vals", 1, "uint64*"]],
  BoolList: [["vals", 1, "bool*"]],
  StringList: [["vals", 1, "string*"]],
  BytesList: [["vals", 1, "bytes*"]],
  Array: [["dtype", 1, "string"], ["shape", 2, "int32*"], ["stype", 3, "string"], ["data", 4, "bytes"]],
  MetricRecordValue: [...NUMBERS, ...NUMBER_LISTS],
  ConfigRecordValue: [
    ...NUMBERS, ["bool", 4, "bool|"], ["string", 5, "string|"], ["bytes", 6, "bytes|"],
    ...NUMBER_LISTS,
    ["bool_list", 24, "BoolList|"], ["string_list", 25, "StringList|"], ["bytes_list", 26, "BytesList|"],
  ],
  "ArrayRecord.Item": [["key", 1, "string"], ["value", 2, "Array"]],
  ArrayRecord: [["items", 1, "ArrayRecord.Item*"]],
  "MetricRecord.Item": [["key", 1, "string"], ["value", 2, "MetricRecordValue"]],
  MetricRecord: [["items", 1, "MetricRecord.Item*"]],
  "ConfigRecord.Item": [["key", 1, "string"], ["value", 2, "ConfigRecordValue"]],
  ConfigRecord: [["items", 1, "ConfigRecord.Item*"]],
  "RecordDict.Item": [
    ["key", 1, "string"], ["array_record", 2, "ArrayRecord|"], ["metric_record", 3, "MetricRecord|"],
    ["config_record", 4, "ConfigRecord|"],
  ],
  RecordDict: [["items", 1, "RecordDict.Item*"]],
};
