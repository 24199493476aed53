"""What benchmark tools write of one run of one replica, cut down to what is read."""

from typing import Any

VLLM: dict[str, Any] = {
    "date": "20261101-101010", "backend": "vllm", "model_id": "meta-llama/Llama-3.1-8B-Instruct",
    "num_prompts": 100, "request_rate": 4.0, "max_concurrency": None, "duration": 25.6,
    "completed": 100, "total_input_tokens": 51200, "total_output_tokens": 25600,
    "request_throughput": 3.9, "mean_ttft_ms": 50.0, "median_ttft_ms": 45.5, "p99_ttft_ms": 120.25,
    "mean_tpot_ms": 9.0, "median_tpot_ms": 8.9, "p99_tpot_ms": 31.5, "mean_itl_ms": 9.1,
    "median_itl_ms": 8.5, "p99_itl_ms": 80.0,
}  # fmt: skip

INFERENCE_PERF: dict[str, Any] = {
    "load_summary": {"count": 100, "requested_rate": 4.0, "achieved_rate": 3.98},
    "successes": {
        "count": 100,
        "latency": {
            "request_latency": {"mean": 2.3},
            "time_to_first_token": {"mean": 0.05, "median": 0.0455, "p95": 0.09, "p99": 0.12025},
            "time_per_output_token": {"mean": 0.009, "median": 0.0085, "p95": 0.02, "p99": 0.0315},
            "inter_token_latency": {"mean": 0.009, "median": 0.0085, "p95": 0.04, "p99": 0.08},
        },
        "throughput": {"requests_per_sec": 3.9},
        "prompt_len": {"mean": 512.0},
        "output_len": {"mean": 256.0},
    },
    "failures": {"count": 0},
}
STEPS = """system,model,tp,precision,phase,batch_size,context_tokens,latency_ms
h100_sxm,Qwen/Qwen3-8B,1,fp8,prefill,1,512,20
h100_sxm,Qwen/Qwen3-8B,1,fp8,decode,8,512,10
h100_sxm,Qwen/Qwen3-8B,1,fp8,decode,8,4096,15
"""
CSV = """input_tokens,output_tokens,requests_per_second,ttft_p95_ms,itl_p95_s,ttft_p99_ms,itl_p99_s
512,256,3.9,90,0.020,120.25,0.0315
"""
