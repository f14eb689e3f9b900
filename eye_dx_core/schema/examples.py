"""One example of each message, for the published contract. Every person in it is invented."""

from typing import Any

_PATIENT: dict[str, Any] = {
    "patient_id": "P2025001",
    "name": "测试甲",
    "age": 45,
    "gender": "男",
    "phone": "13800000000",
    "photos": ["P2025001/OD.tiff", "P2025001/OS.tiff"],
    "screening_records": [],
}
FLAT = _PATIENT
NESTED: dict[str, Any] = {
    "Patient": _PATIENT | {"photos": [{"location": "P2025001/1.tiff", "eye": "OD"}, {"location": "P2025001/2.tiff", "eye": "OS"}]},
    "vision_data": {"left_eye": 0.8, "right_eye": 0.6, "intraocular_pressure": {"left": 18, "right": 19}},
    "screening_time": "2025-07-31T16:09:07+08:00",
    "notes": "",
}
ENVELOPED_SCREENING: dict[str, Any] = {
    "schema": "eye-dx/screening/1",
    "message_id": "2f1c7a52-screening",
    "occurred_at": "2025-07-31T08:09:07Z",
    "producer": "clinic-7",
    "body": NESTED,
}
FOUR_QUEUE_CHECK: dict[str, Any] = {
    "osAnteriorImg": "/upload/1/os-front.jpg",
    "odAnteriorImg": "/upload/1/od-front.jpg",
    "osFundusImg": "/upload/1/os.jpg",
    "odFundusImg": "/upload/1/od.jpg",
    "id": "1950112233445566",
}
REVIEW: dict[str, Any] = {
    "case_id": "case-0123456789abcdef",
    "final_conclusion": "高度近视",
    "doctor_name": "测试医生",
    "recommendation": "3个月后复查，避免剧烈运动",
    "reviewed_at": "2025-07-31T16:40:00+08:00",
}
ENVELOPED_REVIEW: dict[str, Any] = {
    "schema": "eye-dx/review/1",
    "message_id": "2f1c7a52-review",
    "occurred_at": "2025-07-31T08:40:00Z",
    "producer": "clinic-7",
    "body": REVIEW,
}
PARTNER_REVIEW: dict[str, Any] = {
    "osFundusFeatures": "玻璃膜疣",
    "odFundusFeatures": "",
    "osFundusDisease": "年龄相关性黄斑变性",
    "odFundusDisease": "未见明显异常",
    "osAnteriorFeatures": "",
    "odAnteriorFeatures": "",
    "osAnteriorDisease": "",
    "odAnteriorDisease": "",
    "id": "1950112233445566",
}

_MODEL = {"name": "eye-dx-fundus", "version": "3", "sha256": "0" * 64}
_PHOTO: dict[str, Any] = {
    "outcome": "assessed",
    "reason": None,
    "quality": {"level": "good", "issues": []},
    "eye_claims": [{"source": "message", "eye": "OD", "strength": 1.0}, {"source": "picture", "eye": "OD", "strength": 0.97}],
    "is_eye_disputed": False,
}
_BLURRED: dict[str, Any] = {
    "level": "usable",
    "issues": [
        {
            "code": "blurred",
            "advice_zh": "照片模糊：请重新对焦后重拍；仍模糊则转诊。",
            "advice_en": "Blurred: focus again and retake; refer if it stays blurred.",
        }
    ],
}
_RIGHT: dict[str, Any] = {
    "outcome": "assessed",
    "conclusion": "未见明显异常",
    "conclusion_code": "N",
    "confidence": 0.93,
    "abnormal_areas": [],
    "eye": "OD",
    "reason": None,
    "dr_grade": None,
    "areas": [],
    "answer_set": ["N"],
    "urgency": "recall",
    "within_days": 365,
    "photos": [_PHOTO],
}
_LEFT: dict[str, Any] = {
    "outcome": "assessed",
    "conclusion": "年龄相关性黄斑变性",
    "conclusion_code": "A",
    "confidence": 0.89,
    "abnormal_areas": ["黄斑区"],
    "eye": "OS",
    "reason": None,
    "dr_grade": None,
    "areas": [{"zone": "macula", "name_zh": "黄斑区", "strength": 0.71}],
    "answer_set": ["A", "CSC"],
    "urgency": "urgent",
    "within_days": 14,
    "photos": [_PHOTO | {"quality": _BLURRED, "eye_claims": [{"source": "message", "eye": "OS", "strength": 1.0}]}],
}
_ROUTING: dict[str, Any] = {
    "urgency": "urgent",
    "within_days": 14,
    "icd10": ["H35.3", "Z13.5"],
    "reasons": [
        {
            "rule": "A",
            "subject": "photograph",
            "eye": "OS",
            "urgency": "urgent",
            "within_days": 14,
            "icd10": "H35.3",
            "zh": "左眼：AI 提示年龄相关性黄斑变性。照片不能排除湿性病变，建议 2 周内到眼科就诊。",
            "en": "Left eye: the AI suggests age-related macular degeneration. See an ophthalmologist within 2 weeks.",
            "source": "NICE NG82: treatment of wet AMD within 14 days of referral; urgent until a doctor says that it is dry",
        },
        {
            "rule": "N",
            "subject": "photograph",
            "eye": "OD",
            "urgency": "recall",
            "within_days": 365,
            "icd10": "Z13.5",
            "zh": "右眼：AI 提示未见明显异常。请 12 个月后复查眼底；如有不适请随时就诊。",
            "en": "Right eye: the AI suggests no abnormality seen. Have the fundus photographed again in 12 months.",
            "source": "NHS Diabetic Eye Screening, R0M0: annual recall",
        },
    ],
    "rules_signed_by": None,
}
_SUMMARY: dict[str, Any] = {key: _LEFT[key] for key in ("outcome", "conclusion", "conclusion_code", "confidence", "abnormal_areas")} | {
    "model": _MODEL,
    "eyes": [_RIGHT, _LEFT],
    "routing": _ROUTING,
    "routing_status": "proposed",
    "routing_note_zh": "AI 建议，待医生确认。转诊规则尚未经临床负责人签署。",
}
_FINDINGS = {"macula": "未评估", "optic_disc": "未评估", "vessels": "未评估"}


def _answer(schema: str, body: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema": schema,
        "message_id": "9c0e8d7b6a5f4e3d2c1b0a9f8e7d6c5b",
        "occurred_at": "2025-07-31T08:12:30Z",
        "producer": "eye-dx",
        "case_id": "case-0123456789abcdef",
        "source_message_id": "2f1c7a52-screening",
        "body": body,
    }


AI_RESULT = _answer("eye-dx/ai-result/1", _SUMMARY | {"patient_id": "P2025001"})
REPORT = _answer(
    "eye-dx/report/1",
    {
        "patient_id": "P2025001",
        "report": {
            "report_id": "report-of-case-0123456789abcdef",
            "case_id": "case-0123456789abcdef",
            "written_at": "2025-07-31T08:41:00Z",
            "writer": "template/1",
            "fallback_reason": None,
            "prompt_version": None,
            "guard": None,
            "guard_rules": [],
            "tokens": None,
            "findings": [
                {"eye": "OD", "retina": "AI 判读未见明显异常。"} | _FINDINGS,
                {"eye": "OS", "retina": "AI 提示年龄相关性黄斑变性。"} | _FINDINGS,
            ],
            "opinion": "左眼 AI 提示年龄相关性黄斑变性。",
            "advice": "请遵医嘱复查。",
            "conclusion": "高度近视",
            "doctor_name": "测试医生",
            "recommendation": "3个月后复查，避免剧烈运动",
            "urgency": "routine",
            "ai_conclusion": "年龄相关性黄斑变性",
            "ai_model_version": "3",
            "disclaimer": "本报告由人工智能辅助生成，已经医生复核。",
        },
        "addenda": [],
        "ai_diagnosis": _SUMMARY
        | {"routing_status": "reviewed", "routing_note_zh": "AI 建议，以医生的结论和建议为准。转诊规则尚未经临床负责人签署。"},
    },
)
RESULT_CHECK: dict[str, Any] = {
    "osFundusResult": {"AMD": 1, "CSC": None, "RP": None, "ON": None, "GLA": None, "RVO": None, "DR": None},
    "odFundusResult": {"AMD": 0, "CSC": 0, "RP": 0, "ON": None, "GLA": 0, "RVO": 0, "DR": 0},
    "id": "1950112233445566",
}
RESULT_REPORT: dict[str, Any] = {
    "fundusReport": "右眼：视网膜 AI 判读未见明显异常。 黄斑 未评估 视盘 未评估 血管 未评估",
    "fundusInterpret": "左眼：年龄相关性黄斑变性。左眼 AI 提示年龄相关性黄斑变性。",
    "anteriorReport": "未评估（本系统只判读眼底照片）",
    "anteriorInterpret": "未评估（本系统只判读眼底照片）",
    "id": "1950112233445566",
}
