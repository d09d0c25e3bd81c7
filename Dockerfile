# Shuhari on a CPU. Built nowhere yet: its RUN steps were tried in a clean virtual environment alone.
#   docker build -t shuhari .
#   docker run --rm -it -v "$PWD/runs:/home/shuhari/runs" --user "$(id -u)" shuhari train
FROM python:3.11-slim
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

# torch first and exactly: any looser request may pull gigabytes of CUDA. Without TORCH_INDEX this takes the build that
# the package index gives, on x86 one with CUDA; --build-arg TORCH_INDEX=URL takes PyTorch's own index of CPU wheels.
ARG TORCH_INDEX=""
WORKDIR /src
COPY constraints.txt .
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$(grep '^torch==' constraints.txt)"
COPY . .
RUN pip install -c constraints.txt '.[gguf]'

# Anyone may write here: with --user the runs belong to whoever started the container.
RUN useradd --create-home shuhari && chmod 777 /home/shuhari && mkdir -m 777 /cache
ENV SHUHARI_HOME=/cache HOME=/cache
USER shuhari
WORKDIR /home/shuhari
ENTRYPOINT ["shuhari"]
CMD ["--help"]
