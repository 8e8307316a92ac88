import time

import requests

while True:
    print(requests.get("http://web:8080/", timeout=5).text, end="")
    time.sleep(1)
